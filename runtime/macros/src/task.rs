//! From a function to a task.
//!
//! `fn add(a: i32) -> i32` becomes a unit struct `add`, so that `add.remote(..)` has typed arguments, and a function `add::add` with
//! the user's body, which keeps its name for the debugger. Inside the body, `add` is the struct, so that tasks may submit
//! themselves.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, ItemFn, spanned::Spanned};

use crate::{
    arguments::Arguments,
    signature::{self, Output, Parameter},
};

const OPTIONS: [&str; 7] =
    ["name", "num_cpus", "num_gpus", "memory", "max_retries", "retry_errors", MAX_CALLS];
/// Of a task that returns an iterator.
const STREAM_OPTIONS: [&str; 8] =
    ["name", "num_cpus", "num_gpus", "memory", "max_retries", "retry_errors", MAX_CALLS, "backpressure"];
/// It is the function's own: its worker counts the calls, whoever submits them.
const MAX_CALLS: &str = "max_calls";

/// The tokens that take the function's place.
pub fn expand(arguments: &Arguments, function: &ItemFn) -> syn::Result<TokenStream> {
    let output = Output::of_task(&function.sig);
    if output.streams {
        arguments.check("a task that returns an iterator", &STREAM_OPTIONS, &[])?;
    } else {
        arguments.check("a task", &OPTIONS, &[])?;
    }
    check_signature(function)?;
    if let (true, Some(token)) = (output.streams, &function.sig.asyncness) {
        return Err(syn::Error::new(token.span(), "a task that returns an iterator cannot be async"));
    }
    let parameters = signature::parameters(&function.sig, "a task")?;
    let ItemFn { attrs, vis, sig, block } = function;
    let name = &sig.ident;
    let (inline, docs) = (signature::inline(attrs), signature::docs(attrs));
    let glue = glue(arguments, function, &parameters, output);
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
    signature::check(signature, "a task")?;
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        return Err(syn::Error::new(
            receiver.span(),
            "a task cannot be a method; #[manta::actor] is for those",
        ));
    }
    if ["remote", "options"].contains(&signature.ident.to_string().as_str()) {
        let sentence = "a task cannot have the name of one of its own methods";
        return Err(syn::Error::new(signature.ident.span(), sentence));
    }
    Ok(())
}

/// All that surrounds the user's function, in a scope of its own.
fn glue(arguments: &Arguments, function: &ItemFn, parameters: &[Parameter], output: Output) -> TokenStream {
    let (vis, name) = (&function.vis, &function.sig.ident);
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    let kinds: Vec<_> = parameters.iter().map(|parameter| &parameter.kind).collect();
    let labels: Vec<_> = names.iter().map(ToString::to_string).collect();
    let Output { kind, value, finish, streams } = output;
    let (returned, body, result) = if streams {
        let iterator = quote!(::std::boxed::Box<dyn ::core::iter::Iterator<Item = #kind>>);
        let body = quote!(|#(#names),*| ::std::boxed::Box::new(#name::#name(#(#names),*)));
        (iterator, body, quote!(arguments, #name::#name(#(#names),*)))
    } else if function.sig.asyncness.is_some() {
        let future = quote!(::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = #kind> + ::core::marker::Send>>);
        let body = quote!(|#(#names),*| ::std::boxed::Box::pin(#name::#name(#(#names),*)));
        (future, body, quote!(::manta::__private::block_on(#name::#name(#(#names),*))))
    } else {
        (kind, quote!(#name::#name), quote!(#name::#name(#(#names),*)))
    };
    let label = name.to_string();
    let options = arguments.calls(&[MAX_CALLS]);
    let max_calls = arguments.value(MAX_CALLS).map_or_else(|| quote!(0), |calls| quote!(#calls));
    let answer =
        if streams { quote!(::manta::ObjectRefs<#value>) } else { quote!(::manta::ObjectRef<#value>) };
    let submit = if streams { quote!(submit_stream) } else { quote!(submit) };
    let given = quote!(#(::manta::IntoArg::<#kinds>::into_arg(#names)),*);
    let (submit_with_defaults, stream_options) = submissions(streams, &given);
    quote! {
        const _: () = {
            const PATH: &str = ::core::concat!(::core::module_path!(), "::", #label);

            fn __manta_options() -> ::manta::TaskOptions {
                ::manta::__private::task_options(PATH, #label) #options
            }

            impl #name {
                /// Submits the task and gives the ref of its result, or the refs of its values, at once.
                #vis fn remote(&self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> #answer {
                    #submit_with_defaults
                }

                /// Options for one submission: `.options().num_cpus(2.0).remote(..)`.
                #vis fn options(&self) -> __MantaOptions {
                    __MantaOptions(__manta_options())
                }
            }

            impl ::core::ops::Deref for #name {
                type Target = fn(#(#kinds),*) -> #returned;
                fn deref(&self) -> &Self::Target {
                    const BODY: fn(#(#kinds),*) -> #returned = #body;
                    &BODY
                }
            }

            /// Options for one submission of the task.
            #[must_use = "the task is submitted by .remote(..)"]
            pub struct __MantaOptions(::manta::TaskOptions);

            ::manta::__private::option_methods!(__MantaOptions);

            impl __MantaOptions {
                /// Submits the task with these options.
                pub fn remote(self, #(#names: impl ::manta::IntoArg<#kinds>),*) -> #answer {
                    ::manta::__private::#submit(&self.0, ::std::vec![#given])
                }
            }

            #stream_options

            fn __manta_run(arguments: &mut ::manta::__private::Arguments) -> ::manta::__private::Outcome {
                #(let #names: #kinds = arguments.take(#labels)?;)*
                arguments.end()?;
                #finish(#result)
            }

            ::manta::__private::inventory::submit! {
                ::manta::__private::TaskDefinition { path: PATH, run: __manta_run, max_calls: #max_calls }
            }
        };
    }
}

/// What submits a task with its own defaults, and the options that one has which returns an iterator.
fn submissions(streams: bool, given: &TokenStream) -> (TokenStream, TokenStream) {
    if !streams {
        let submit = quote! {
            static TEMPLATE: ::manta::__private::Template = ::manta::__private::Template::new(__manta_options);
            TEMPLATE.submit([#given])
        };
        return (submit, quote!());
    }
    let submit = quote!(::manta::__private::submit_stream(&__manta_options(), ::std::vec![#given]));
    let options = quote! {
        impl __MantaOptions {
            /// The task waits while so many of its values were not taken.
            pub fn backpressure(self, values: u32) -> Self {
                Self(self.0.backpressure(values))
            }
        }
    };
    (submit, options)
}
