//! `${VAR}` and `${VAR:-default}`, taken from the environment.

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text could not be expanded. Holds what the file says, never a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    /// `${` without its end, or with something in it that is not a name.
    #[error("'{written}' is not a reference to a variable")]
    NotAReference { written: String },
    /// The environment has no such variable.
    #[error("the variable {name} is not set")]
    Unset { name: String },
    /// The variable is there and empty.
    #[error("the variable {name} is set but empty")]
    Empty { name: String },
}

/// Replaces every reference in `text`.
pub(crate) fn expand(text: &str, environment: Environment) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let (reference, tail) = split_reference(&rest[start..])?;
        expanded.push_str(&reference.value(environment)?);
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Whether a text is exactly one reference.
pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with("${") && matches!(split_reference(text), Ok((_, "")))
}

struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
}

impl Reference<'_> {
    /// As in a shell, an empty variable counts as missing for `:-`.
    fn value(&self, environment: Environment) -> Result<String, ExpandError> {
        let value = environment(self.name);
        match (value, self.default) {
            (Some(value), _) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (Some(_), None) => Err(ExpandError::Empty { name: self.name.to_owned() }),
            (None, None) => Err(ExpandError::Unset { name: self.name.to_owned() }),
        }
    }
}

fn split_reference(text: &str) -> Result<(Reference<'_>, &str), ExpandError> {
    let Some((inside, tail)) = text.strip_prefix("${").and_then(|rest| rest.split_once('}')) else {
        return Err(ExpandError::NotAReference { written: "${…".to_owned() });
    };
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        // What follows an odd name may be a secret's default, so only the name is shown.
        let shown: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        return Err(ExpandError::NotAReference { written: format!("${{{shown}…}}") });
    }
    Ok((Reference { name, default }, tail))
}
