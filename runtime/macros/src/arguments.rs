//! The options in `#[manta::task(..)]`, `#[manta::actor(..)]` and `#[method(..)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Expr, Ident, LitInt, Token, parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// One option: `key = value`, or `key(name = number, ..)`.
enum Argument {
    Value(Ident, Expr),
    List(Ident, Vec<(Ident, LitInt)>),
}

impl Argument {
    fn key(&self) -> &Ident {
        match self {
            Self::Value(key, _) | Self::List(key, _) => key,
        }
    }
}

struct Limit(Ident, LitInt);

impl Parse for Limit {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self(name, input.parse()?))
    }
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.parse()?;
        if input.peek(syn::token::Paren) {
            let list;
            parenthesized!(list in input);
            let limits = Punctuated::<Limit, Token![,]>::parse_terminated(&list)?;
            return Ok(Self::List(key, limits.into_iter().map(|Limit(name, limit)| (name, limit)).collect()));
        }
        input.parse::<Token![=]>()?;
        Ok(Self::Value(key, input.parse()?))
    }
}

/// What an attribute says; what it does not say is the default.
#[derive(Default)]
pub struct Arguments(Vec<Argument>);

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self(Punctuated::<Argument, Token![,]>::parse_terminated(input)?.into_iter().collect()))
    }
}

impl Arguments {
    /// Refuses options that are unknown, or given twice. Those in `lists` are written with parentheses.
    pub fn check(&self, what: &str, known: &[&str], lists: &[&str]) -> syn::Result<()> {
        for (index, argument) in self.0.iter().enumerate() {
            let key = argument.key();
            let refuse = |sentence: String| Err(syn::Error::new(key.span(), sentence));
            let is = |names: &[&str]| names.iter().any(|name| key == name);
            if !is(known) && !is(lists) {
                let known: Vec<_> = known.iter().chain(lists).copied().collect();
                return refuse(format!("{what} has no option '{key}'; it has {}", known.join(", ")));
            }
            match argument {
                Argument::Value(..) if is(lists) => {
                    return refuse(format!("write '{key}' with parentheses, as in {key}(io = 2)"));
                }
                Argument::List(..) if !is(lists) => {
                    return refuse(format!("write '{key}' with a value, as in {key} = 1"));
                }
                _ => {}
            }
            if self.0[..index].iter().any(|other| other.key() == key) {
                return refuse(format!("the option '{key}' is given twice"));
            }
        }
        Ok(())
    }

    /// The value of an option.
    pub fn value(&self, name: &str) -> Option<&Expr> {
        self.0.iter().find_map(|argument| match argument {
            Argument::Value(key, value) if key == name => Some(value),
            _ => None,
        })
    }

    /// The names and numbers of an option.
    pub fn list(&self, name: &str) -> &[(Ident, LitInt)] {
        let found = self.0.iter().find_map(|argument| match argument {
            Argument::List(key, list) if key == name => Some(&**list),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// Calls of the builder methods that bear the options' names, of all but some.
    pub fn calls(&self, but: &[&str]) -> TokenStream {
        let calls = self.0.iter().map(|argument| match argument {
            Argument::Value(key, value) if but.iter().all(|other| key != other) => quote!(.#key(#value)),
            Argument::Value(..) | Argument::List(..) => quote!(),
        });
        quote!(#(#calls)*)
    }
}
