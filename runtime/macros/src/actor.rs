//! From an `impl` block to an actor.
//!
//! The block stays as it is, so that its methods keep their names for the debugger. Beside it come a type with the calls of the
//! methods, behind `ActorHandle`; one with `remote`, behind `ActorOptions`; and what a worker needs to make and call the actor.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Expr, ExprLit, FnArg, ImplItem, ImplItemFn, ItemImpl, Lit, LitInt, Signature, Type, Visibility,
    spanned::Spanned,
};

use crate::{
    arguments::Arguments,
    signature::{self, Output, Parameter},
};

const WHAT: &str = "a method of an actor";
const OPTIONS: [&str; 7] = [
    "num_cpus",
    "num_gpus",
    "memory",
    "max_restarts",
    "max_task_retries",
    "max_pending_calls",
    "max_concurrency",
];

/// A method that can be called from elsewhere.
struct Method<'a> {
    function: &'a ImplItemFn,
    /// Its signature with the actor's own name for `Self`.
    signature: Signature,
    parameters: Vec<Parameter>,
    exclusive: bool,
    group: u32,
    /// Calls of the builder methods of `Call`.
    options: TokenStream,
}

/// The tokens that take the block's place.
pub fn expand(arguments: &Arguments, block: &ItemImpl) -> syn::Result<TokenStream> {
    arguments.check("an actor", &OPTIONS, &["concurrency_groups"])?;
    let name = type_name(block)?;
    let groups = arguments.list("concurrency_groups");
    let mut plain = block.clone();
    for item in &mut plain.items {
        if let ImplItem::Fn(function) = item {
            function.attrs.retain(|attribute| !is_method(attribute));
            if is_called(function) || function.sig.ident == "new" {
                let inline = signature::inline(&function.attrs);
                function.attrs.push(syn::parse_quote!(#[allow(clippy::needless_pass_by_value)]));
                if !inline.is_empty() {
                    function.attrs.push(syn::parse_quote!(#inline));
                }
            }
        }
    }
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    let (mut methods, mut new) = (Vec::new(), None);
    for function in functions {
        if is_called(function) {
            methods.push(method(&name, function, groups)?);
        } else if function.sig.ident == "new" {
            new = Some(function);
        }
    }
    let new = new.ok_or_else(|| {
        syn::Error::new(
            block.self_ty.span(),
            "an actor needs a function 'new' in this block, which makes its value",
        )
    })?;
    let glue = glue(&name, arguments, new, &methods)?;
    Ok(quote!(#plain #glue))
}

fn type_name(block: &ItemImpl) -> syn::Result<Ident> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(syn::Error::new(
            path.span(),
            "an actor's methods stand in an impl block of the type itself, not of a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        let sentence = "an actor cannot be generic: its worker must know the types; wrap it for each type";
        return Err(syn::Error::new(block.generics.span(), sentence));
    }
    match &*block.self_ty {
        Type::Path(path) if path.qself.is_none() && path.path.segments.len() == 1 => {
            Ok(path.path.segments[0].ident.clone())
        }
        other => Err(syn::Error::new(other.span(), "an actor is a type of the same module")),
    }
}

fn is_method(attribute: &syn::Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "method")
}

/// Whether the function has a receiver.
fn is_called(function: &ImplItemFn) -> bool {
    matches!(function.sig.inputs.first(), Some(FnArg::Receiver(_)))
}

fn method<'a>(
    class: &Ident,
    function: &'a ImplItemFn,
    groups: &[(Ident, LitInt)],
) -> syn::Result<Method<'a>> {
    signature::check(&function.sig, WHAT)?;
    let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() else {
        unreachable!("it has a receiver")
    };
    if receiver.reference.is_none() {
        let sentence = "a method of an actor takes &self or &mut self: the actor lives on after it";
        return Err(syn::Error::new(receiver.span(), sentence));
    }
    let mut options = Arguments::default();
    if let Some(attribute) = function.attrs.iter().find(|attribute| is_method(attribute)) {
        options = attribute.parse_args()?;
        options.check("a method", &["name", "concurrency_group", "max_task_retries", "retry_errors"], &[])?;
    }
    let group = match options.value("concurrency_group") {
        None => 0,
        Some(Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) => {
            let found = (1..).zip(groups).find(|(_, (group, _))| *group == name.value());
            found.map(|(number, _)| number).ok_or_else(|| {
                syn::Error::new(name.span(), format!("the actor has no concurrency group '{}'", name.value()))
            })?
        }
        Some(other) => return Err(syn::Error::new(other.span(), "a concurrency group's name is text")),
    };
    let builders = ["name", "max_task_retries", "retry_errors"].map(|option| {
        let builder = format_ident!("{option}");
        options.value(option).map(|value| quote!(.#builder(#value)))
    });
    let signature = signature::without_self(&function.sig, class)?;
    Ok(Method {
        function,
        parameters: signature::parameters(&signature, WHAT)?,
        signature,
        exclusive: receiver.mutability.is_some(),
        group,
        options: quote!(#(#builders)*),
    })
}

/// The call of a method, as its callers write it.
fn caller(method: &Method<'_>) -> TokenStream {
    let Method { function, signature, parameters, group, options, .. } = method;
    let (vis, name, docs) = (&function.vis, &function.sig.ident, signature::docs(&function.attrs));
    let names = parameters.iter().map(|parameter| &parameter.name).collect::<Vec<_>>();
    let kinds = parameters.iter().map(|parameter| &parameter.kind).collect::<Vec<_>>();
    let value = Output::of(signature).value;
    let label = name.to_string();
    quote! {
        #(#docs)*
        #vis fn #name(&self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> ::manta::Call<#value> {
            let arguments = ::std::vec![#(::manta::IntoArg::<#kinds>::into_arg(#names)),*];
            self.0.call(#label, #group, arguments) #options
        }
    }
}

/// A method, as its worker runs it.
fn runner(class: &Ident, method: &Method<'_>) -> TokenStream {
    let Method { function, signature, parameters, exclusive, .. } = method;
    let name = &function.sig.ident;
    let label = name.to_string();
    let names = parameters.iter().map(|parameter| &parameter.name).collect::<Vec<_>>();
    let kinds = parameters.iter().map(|parameter| &parameter.kind).collect::<Vec<_>>();
    let labels = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let finish = Output::of(signature).finish;
    let (binding, lock, receiver) = if *exclusive {
        (quote!(mut __manta_actor), "write", quote!(&mut __manta_actor))
    } else {
        (quote!(__manta_actor), "read", quote!(&__manta_actor))
    };
    let call = if function.sig.asyncness.is_some() {
        let lock = format_ident!("{lock}");
        quote! {
            ::manta::__private::block_on(async {
                let #binding = __manta_lock.#lock().await;
                #class::#name(#receiver, #(#names),*).await
            })
        }
    } else {
        let lock = format_ident!("blocking_{lock}");
        quote!({
            let #binding = __manta_lock.#lock();
            #class::#name(#receiver, #(#names),*)
        })
    };
    quote! {
        ::manta::__private::MethodDefinition {
            name: #label,
            run: |__manta_instance, __manta_arguments| {
                #(let #names: #kinds = __manta_arguments.take(#labels)?;)*
                __manta_arguments.end()?;
                let __manta_lock = __manta_instance.lock::<#class>()?;
                let __manta_result = #call;
                #finish(__manta_result)
            },
        }
    }
}

/// How a worker makes the value.
fn creator(class: &Ident, new: &ImplItemFn, parameters: &[Parameter]) -> TokenStream {
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    let kinds: Vec<_> = parameters.iter().map(|parameter| &parameter.kind).collect();
    let labels: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut made = quote!(#class::new(#(#names),*));
    if new.sig.asyncness.is_some() {
        made = quote!(::manta::__private::block_on(#made));
    }
    let fails = matches!(&new.sig.output, syn::ReturnType::Type(_, kind) if signature::is_result(kind));
    if fails {
        made = quote!(::manta::__private::Fallible::split(#made).map_err(::manta::__private::Failure::Returned)?);
    }
    quote! {
        fn __manta_create(
            arguments: &mut ::manta::__private::Arguments,
        ) -> ::core::result::Result<::manta::__private::Instance, ::manta::__private::Failure> {
            #(let #names: #kinds = arguments.take(#labels)?;)*
            arguments.end()?;
            ::core::result::Result::Ok(::manta::__private::Instance::new::<#class>(#made))
        }
    }
}

/// The types behind handles and options, with the calls and the constructor as methods of theirs.
fn wrappers(
    class: &Ident,
    vis: &Visibility,
    parameters: &[Parameter],
    methods: &[Method<'_>],
) -> TokenStream {
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    let kinds: Vec<_> = parameters.iter().map(|parameter| &parameter.kind).collect();
    let callers = methods.iter().map(caller);
    quote! {
        /// The calls of the actor's methods.
        #[derive(Clone)]
        pub struct __MantaMethods(::manta::__private::RawHandle);

        impl __MantaMethods {
            #(#callers)*
        }

        impl ::core::convert::From<::manta::__private::RawHandle> for __MantaMethods {
            fn from(handle: ::manta::__private::RawHandle) -> Self {
                Self(handle)
            }
        }

        impl ::core::convert::AsRef<::manta::__private::RawHandle> for __MantaMethods {
            fn as_ref(&self) -> &::manta::__private::RawHandle {
                &self.0
            }
        }

        /// How the actor is started.
        pub struct __MantaStart(::manta::__private::RawOptions);

        impl __MantaStart {
            /// Starts an actor with these options.
            #vis fn remote(&self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> ::manta::ActorHandle<#class> {
                let arguments = ::std::vec![#(::manta::IntoArg::<#kinds>::into_arg(#names)),*];
                self.0.start(arguments).into()
            }
        }

        impl ::core::convert::From<::manta::__private::RawOptions> for __MantaStart {
            fn from(options: ::manta::__private::RawOptions) -> Self {
                Self(options)
            }
        }

        impl ::core::convert::AsMut<::manta::__private::RawOptions> for __MantaStart {
            fn as_mut(&mut self) -> &mut ::manta::__private::RawOptions {
                &mut self.0
            }
        }
    }
}

/// All that surrounds the user's block, in a scope of its own.
fn glue(
    class: &Ident,
    arguments: &Arguments,
    new: &ImplItemFn,
    methods: &[Method<'_>],
) -> syn::Result<TokenStream> {
    signature::check(&new.sig, "the constructor of an actor")?;
    let plain = signature::without_self(&new.sig, class)?;
    let parameters = signature::parameters(&plain, "the constructor of an actor")?;
    let (vis, docs) = (&new.vis, signature::docs(&new.attrs));
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    let kinds: Vec<_> = parameters.iter().map(|parameter| &parameter.kind).collect();
    let label = class.to_string();
    let options = arguments.calls(&[]);
    let groups = arguments.list("concurrency_groups").iter().map(|(name, limit)| {
        let name = name.to_string();
        quote!((#name, #limit))
    });
    let is_async = methods.iter().any(|method| method.function.sig.asyncness.is_some());
    let runners = methods.iter().map(|method| runner(class, method));
    let creator = creator(class, new, &parameters);
    let wrappers = wrappers(class, vis, &parameters, methods);
    Ok(quote! {
        const _: () = {
            const PATH: &str = ::core::concat!(::core::module_path!(), "::", #label);

            impl #class {
                #(#docs)*
                ///
                /// Starts an actor: its handle is there at once, and its calls wait until the actor is.
                #vis fn remote(#(#names: impl ::manta::IntoArg<#kinds>),*) -> ::manta::ActorHandle<#class> {
                    Self::options().remote(#(#names),*)
                }

                /// Options for one actor: `.options().name("counter").remote(..)`.
                #vis fn options() -> ::manta::ActorOptions<#class> {
                    ::manta::ActorOptions::<#class>::default() #options
                }
            }

            #wrappers

            impl ::manta::Actor for #class {
                type Methods = __MantaMethods;
                type Start = __MantaStart;
                const CLASS: ::manta::__private::Class = ::manta::__private::Class {
                    path: PATH,
                    name: #label,
                    is_async: #is_async,
                    groups: &[#(#groups),*],
                };
            }

            #creator

            ::manta::__private::inventory::submit! {
                ::manta::__private::ActorDefinition {
                    path: PATH,
                    name: #label,
                    create: __manta_create,
                    limits: || #class::options().limits(),
                    methods: &[#(#runners),*],
                }
            }
        };
    })
}
