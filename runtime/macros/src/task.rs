//! From a function to a task.
//!
//! `fn add(a: i32) -> i32` becomes a unit struct `add`, so that `add.remote(..)` has typed arguments, and a function `add::add` with
//! the user's body, which keeps its name for the debugger. Inside the body, `add` is the struct, so that tasks may submit
//! themselves.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{FnArg, ItemFn, Pat, ReturnType, Type, spanned::Spanned};

use crate::arguments::Arguments;

/// A parameter of the user's function.
struct Parameter {
    name: Ident,
    kind: Type,
}

/// The tokens that take the function's place.
pub fn expand(arguments: &Arguments, function: &ItemFn) -> syn::Result<TokenStream> {
    check_signature(function)?;
    let parameters = parameters(function)?;
    let ItemFn { attrs, vis, sig, block } = function;
    let name = &sig.ident;
    let inline = if attrs.iter().any(|attr| attr.path().is_ident("inline")) {
        quote!()
    } else {
        quote!(#[inline(never)])
    };
    let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc"));
    let glue = glue(arguments, function, &parameters);
    Ok(quote! {
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy)]
        #vis struct #name;

        #[allow(non_camel_case_types)]
        impl #name {
            #(#attrs)*
            #inline
            #[allow(clippy::needless_pass_by_value)] // A task owns what it was sent.
            #sig #block
        }

        #glue
    })
}

fn check_signature(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    let refuse = |span: Span, sentence: &str| Err(syn::Error::new(span, sentence));
    if let Some(token) = &signature.asyncness {
        return refuse(token.span(), "a task cannot be async yet; block on the future inside it");
    }
    if let Some(token) = &signature.unsafety {
        return refuse(
            token.span(),
            "a task cannot be unsafe: a worker calls it with values that came over the wire",
        );
    }
    if !signature.generics.params.is_empty() {
        return refuse(
            signature.generics.span(),
            "a task cannot be generic: its worker must know the types; wrap it for each type",
        );
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic.span(), "a task cannot be variadic");
    }
    if ["remote", "options"].contains(&signature.ident.to_string().as_str()) {
        return refuse(signature.ident.span(), "a task cannot have the name of one of its own methods");
    }
    Ok(())
}

fn parameters(function: &ItemFn) -> syn::Result<Vec<Parameter>> {
    let parameter = |(index, argument): (usize, &FnArg)| match argument {
        FnArg::Receiver(receiver) => Err(syn::Error::new(receiver.span(), "a task cannot be a method")),
        FnArg::Typed(argument) => match &*argument.ty {
            Type::Reference(reference) => Err(syn::Error::new(
                reference.span(),
                "a task's argument cannot be a reference, since it comes from another process; take an owned value",
            )),
            Type::ImplTrait(kind) => {
                Err(syn::Error::new(kind.span(), "a task's argument needs a type that its worker knows"))
            }
            kind => {
                let name = match &*argument.pat {
                    Pat::Ident(pattern) => pattern.ident.clone(),
                    _ => format_ident!("argument_{index}"),
                };
                Ok(Parameter { name, kind: kind.clone() })
            }
        },
    };
    function.sig.inputs.iter().enumerate().map(parameter).collect()
}

/// Whether the type is written as some `Result`: then its error becomes the task's.
fn is_result(kind: &Type) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Result"))
}

/// All that surrounds the user's function, in a scope of its own.
fn glue(arguments: &Arguments, function: &ItemFn, parameters: &[Parameter]) -> TokenStream {
    let (vis, name) = (&function.vis, &function.sig.ident);
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    let kinds: Vec<_> = parameters.iter().map(|parameter| &parameter.kind).collect();
    let labels: Vec<_> = names.iter().map(ToString::to_string).collect();
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, kind) => quote!(#kind),
    };
    let fails = matches!(&function.sig.output, ReturnType::Type(_, kind) if is_result(kind));
    let (value, finish) = if fails {
        (quote!(<#output as ::manta::__private::Fallible>::Value), quote!(finish_result))
    } else {
        (quote!(#output), quote!(finish))
    };
    let label = name.to_string();
    let options = default_options(arguments);
    quote! {
        const _: () = {
            const PATH: &str = ::core::concat!(::core::module_path!(), "::", #label);

            fn __manta_options() -> ::manta::TaskOptions {
                ::manta::__private::task_options(PATH, #label) #options
            }

            impl #name {
                /// Submits the task and gives the ref of its result at once.
                #vis fn remote(&self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> ::manta::ObjectRef<#value> {
                    self.options().remote(#(#names),*)
                }

                /// Options for one submission: `.options().num_cpus(2.0).remote(..)`.
                #vis fn options(&self) -> __MantaOptions {
                    __MantaOptions(__manta_options())
                }
            }

            impl ::core::ops::Deref for #name {
                type Target = fn(#(#kinds),*) -> #output;
                fn deref(&self) -> &Self::Target {
                    const BODY: fn(#(#kinds),*) -> #output = #name::#name;
                    &BODY
                }
            }

            /// Options for one submission of the task.
            #[must_use = "the task is submitted by .remote(..)"]
            pub struct __MantaOptions(::manta::TaskOptions);

            ::manta::__private::option_methods!(__MantaOptions);

            impl __MantaOptions {
                /// Submits the task with these options.
                pub fn remote(self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> ::manta::ObjectRef<#value> {
                    let arguments = ::std::vec![#(::manta::IntoArg::<#kinds>::into_arg(#names)),*];
                    ::manta::__private::submit(&self.0, arguments)
                }
            }

            fn __manta_run(arguments: &mut ::manta::__private::Arguments) -> ::manta::__private::Outcome {
                #(let #names: #kinds = arguments.take(#labels)?;)*
                ::manta::__private::#finish(#name::#name(#(#names),*))
            }

            ::manta::__private::inventory::submit! {
                ::manta::__private::TaskDefinition { path: PATH, run: __manta_run }
            }
        };
    }
}

fn default_options(arguments: &Arguments) -> TokenStream {
    let Arguments { name, num_cpus, num_gpus, max_retries, retry_errors } = arguments;
    let method = |method: &str, value: &Option<syn::Expr>| {
        let method = Ident::new(method, Span::call_site());
        value.as_ref().map(|value| quote!(.#method(#value)))
    };
    let methods = [
        method("name", name),
        method("num_cpus", num_cpus),
        method("num_gpus", num_gpus),
        method("max_retries", max_retries),
        method("retry_errors", retry_errors),
    ];
    quote!(#(#methods)*)
}
