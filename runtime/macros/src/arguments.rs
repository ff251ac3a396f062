//! The options in `#[manta::task(..)]`.

use syn::{
    Expr, Ident, Token,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// What the attribute says; absent means the default.
#[derive(Default)]
pub struct Arguments {
    pub name: Option<Expr>,
    pub num_cpus: Option<Expr>,
    pub num_gpus: Option<Expr>,
    pub max_retries: Option<Expr>,
    pub retry_errors: Option<Expr>,
}

struct Pair {
    key: Ident,
    value: Expr,
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self { key, value: input.parse()? })
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self::default();
        for Pair { key, value } in Punctuated::<Pair, Token![,]>::parse_terminated(input)? {
            let place = match key.to_string().as_str() {
                "name" => &mut arguments.name,
                "num_cpus" => &mut arguments.num_cpus,
                "num_gpus" => &mut arguments.num_gpus,
                "max_retries" => &mut arguments.max_retries,
                "retry_errors" => &mut arguments.retry_errors,
                other => {
                    let known = "name, num_cpus, num_gpus, max_retries, retry_errors";
                    return Err(syn::Error::new(
                        key.span(),
                        format!("a task has no option '{other}'; it has {known}"),
                    ));
                }
            };
            if place.replace(value).is_some() {
                return Err(syn::Error::new(key.span(), format!("the option '{key}' is given twice")));
            }
        }
        Ok(arguments)
    }
}
