//! What tasks and methods of actors have in common: their parameters and what they return.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{
    Attribute, FnArg, GenericArgument, Pat, PathArguments, ReturnType, Signature, Type, TypeParamBound,
    spanned::Spanned,
};

/// A parameter of the user's function.
pub struct Parameter {
    pub name: Ident,
    pub kind: Type,
}

/// Refuses what cannot be called from another process. `what` is "a task" or the like.
pub fn check(signature: &Signature, what: &str) -> syn::Result<()> {
    let refuse = |span: Span, sentence: String| Err(syn::Error::new(span, sentence));
    if let Some(token) = &signature.unsafety {
        let sentence =
            format!("{what} cannot be unsafe: a worker calls it with values that came over the wire");
        return refuse(token.span(), sentence);
    }
    if !signature.generics.params.is_empty() {
        let sentence =
            format!("{what} cannot be generic: its worker must know the types; wrap it for each type");
        return refuse(signature.generics.span(), sentence);
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic.span(), format!("{what} cannot be variadic"));
    }
    Ok(())
}

/// The parameters without a receiver.
pub fn parameters(signature: &Signature, what: &str) -> syn::Result<Vec<Parameter>> {
    let typed = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Receiver(_) => None,
        FnArg::Typed(argument) => Some(argument),
    });
    let parameter = |(index, argument): (usize, &syn::PatType)| match &*argument.ty {
        Type::Reference(reference) => Err(syn::Error::new(
            reference.span(),
            format!(
                "an argument of {what} cannot be a reference, since it comes from another process; take an owned value"
            ),
        )),
        Type::ImplTrait(kind) => Err(syn::Error::new(
            kind.span(),
            format!("an argument of {what} needs a type that its worker knows"),
        )),
        kind => {
            let name = match &*argument.pat {
                Pat::Ident(pattern) => pattern.ident.clone(),
                _ => format_ident!("argument_{index}"),
            };
            Ok(Parameter { name, kind: kind.clone() })
        }
    };
    typed.enumerate().map(parameter).collect()
}

/// Whether the type is written as some `Result`: then its error becomes the task's.
pub fn is_result(kind: &Type) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Result"))
}

/// What a function returns: its type, what the caller's ref is of, and the function that ends the task with it.
pub struct Output {
    pub kind: TokenStream,
    pub value: TokenStream,
    pub finish: TokenStream,
    /// It returns an iterator: `kind` is what that gives.
    pub streams: bool,
}

/// What a returned `impl Iterator<Item = T>` gives.
fn item_of(kind: &Type) -> Option<&Type> {
    let Type::ImplTrait(kind) = kind else { return None };
    kind.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let iterator = bound.path.segments.last().filter(|segment| segment.ident == "Iterator")?;
        let PathArguments::AngleBracketed(arguments) = &iterator.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        })
    })
}

impl Output {
    /// Of a task, which may return an iterator.
    pub fn of_task(signature: &Signature) -> Self {
        let ReturnType::Type(_, returned) = &signature.output else { return Self::of(signature) };
        let Some(item) = item_of(returned) else { return Self::of(signature) };
        let (kind, streams) = (quote!(#item), true);
        if is_result(item) {
            let value = quote!(<#item as ::manta::__private::Fallible>::Value);
            return Self { kind, value, finish: quote!(::manta::__private::finish_result_values), streams };
        }
        Self { value: kind.clone(), kind, finish: quote!(::manta::__private::finish_values), streams }
    }

    pub fn of(signature: &Signature) -> Self {
        let kind = match &signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, kind) => quote!(#kind),
        };
        if matches!(&signature.output, ReturnType::Type(_, kind) if is_result(kind)) {
            let value = quote!(<#kind as ::manta::__private::Fallible>::Value);
            return Self { kind, value, finish: quote!(::manta::__private::finish_result), streams: false };
        }
        Self { value: kind.clone(), kind, finish: quote!(::manta::__private::finish), streams: false }
    }
}

/// `#[inline(never)]`, unless the attributes speak of inlining: a debugger is to find the function.
pub fn inline(attributes: &[Attribute]) -> TokenStream {
    if attributes.iter().any(|attribute| attribute.path().is_ident("inline")) {
        quote!()
    } else {
        quote!(#[inline(never)])
    }
}

/// The documentation among attributes.
pub fn docs(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).collect()
}

/// The signature with a type's name in the place of `Self`, for use outside of the type's own block.
pub fn without_self(signature: &Signature, class: &Ident) -> syn::Result<Signature> {
    syn::parse2(named(quote!(#signature), class))
}

fn named(tokens: TokenStream, class: &Ident) -> TokenStream {
    let name = |token| match token {
        TokenTree::Ident(word) if word == "Self" => {
            TokenTree::Ident(Ident::new(&class.to_string(), word.span()))
        }
        TokenTree::Group(group) => {
            let mut renamed = Group::new(group.delimiter(), named(group.stream(), class));
            renamed.set_span(group.span());
            TokenTree::Group(renamed)
        }
        other => other,
    };
    tokens.into_iter().map(name).collect()
}
