//! The environment that tasks run in, as it travels: JSON with sorted keys, so that equal environments are equal texts.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{URI_SCHEME, unpack::is_package_id};

/// Seconds in which an environment has to be there unless it says otherwise.
const SETUP_SECONDS: i64 = 600;
/// Bytes of an environment's JSON.
const JSON_BYTES_MAX: usize = 1024 * 1024;

/// An environment whose local folders have become packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEnv {
    /// `manta://` and the id of the package that is the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Packages whose folders can be imported from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub py_modules: Vec<String>,
    /// Environment variables. `${NAME}` stands for the node's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_vars: BTreeMap<String, String>,
    /// What pip installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pip: Option<Pip>,
    /// What uv installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uv: Option<Uv>,
    /// How it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// The command in the place of the interpreter, with arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub py_executable: Option<String>,
    /// What each Python worker runs before its first task: `module.function`, or a function's pickle, which only Python reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_process_setup_hook: Option<String>,
}

/// What pip installs, as Ray describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pip {
    /// Requirements, as in a requirements file.
    pub packages: Vec<String>,
    /// Whether `pip check` has to succeed afterwards.
    #[serde(default)]
    pub pip_check: bool,
    /// A version of pip to install first, such as `==24.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pip_version: Option<String>,
    /// Further arguments of `pip install`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pip_install_options: Vec<String>,
}

/// What uv installs, as Ray describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uv {
    /// Requirements, as in a requirements file.
    pub packages: Vec<String>,
    /// A version of uv to install first, such as `==0.4.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uv_version: Option<String>,
    /// Whether `uv pip check` has to succeed afterwards.
    #[serde(default)]
    pub uv_check: bool,
    /// Further arguments of `uv pip install`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uv_pip_install_options: Vec<String>,
}

/// How an environment is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seconds; -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_timeout_seconds: Option<i64>,
    /// Taken for Ray's sake: environments are made when first needed, and workers of a job start early anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eager_install: Option<bool>,
}

impl RuntimeEnv {
    /// Reads one from JSON; the empty text is the empty environment.
    ///
    /// # Errors
    /// With a sentence: unknown keys, wrong types, two installers, names that are no packages.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        if json.len() > JSON_BYTES_MAX {
            return Err(format!(
                "the runtime_env has {} bytes, and {JSON_BYTES_MAX} is the most; put large things into files of the working_dir",
                json.len()
            ));
        }
        let read: Self =
            serde_json::from_str(json).map_err(|error| format!("the runtime_env is not valid: {error}"))?;
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), String> {
        for uri in self.working_dir.iter().chain(&self.py_modules) {
            if package_id(uri).is_none() {
                return Err(format!(
                    "'{uri}' is no package of this cluster; local folders become one where the runtime_env is given, and other URIs \
                     are not supported"
                ));
            }
        }
        if self.pip.is_some() && self.uv.is_some() {
            return Err("a runtime_env has either 'pip' or 'uv', and this one has both".to_owned());
        }
        if let Some(name) = self.env_vars.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("'{name}' cannot be the name of an environment variable"));
        }
        match self.config.as_ref().and_then(|config| config.setup_timeout_seconds) {
            Some(seconds) if seconds < -1 || seconds == 0 => {
                Err(format!("setup_timeout_seconds is -1 (no limit) or above 0, not {seconds}"))
            }
            _ => Ok(()),
        }
    }

    /// The text that travels; empty for an environment that changes nothing.
    #[must_use]
    pub fn to_json(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        // Maps with text keys and plain values always can be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The ids of all packages that it names.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.working_dir.iter().chain(&self.py_modules).filter_map(|uri| package_id(uri))
    }

    /// How long its making may take; none for any time.
    #[must_use]
    pub fn setup_limit(&self) -> Option<Duration> {
        let seconds =
            self.config.as_ref().and_then(|config| config.setup_timeout_seconds).unwrap_or(SETUP_SECONDS);
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}

/// The id in a package's name.
#[must_use]
pub fn package_id(uri: &str) -> Option<&str> {
    uri.strip_prefix(URI_SCHEME).filter(|id| is_package_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_environments_are_equal_texts() {
        let one =
            RuntimeEnv::parse(r#"{"env_vars": {"B": "2", "A": "1"}, "pip": {"packages": ["x"]}}"#).unwrap();
        let two = RuntimeEnv::parse(
            r#"{"pip": {"pip_check": false, "packages": ["x"]}, "env_vars": {"A": "1", "B": "2"}}"#,
        );
        assert_eq!(one.to_json(), two.unwrap().to_json());
        assert_eq!(RuntimeEnv::parse("{}").unwrap().to_json(), "");
        assert_eq!(RuntimeEnv::parse(&one.to_json()).unwrap(), one);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, words) in [
            (r#"{"conda": "x"}"#, "unknown field `conda`"),
            (r#"{"env_vars": {"A": 1}}"#, "expected a string"),
            (r#"{"working_dir": "/home/me"}"#, "is no package of this cluster"),
            (r#"{"pip": {"packages": []}, "uv": {"packages": []}}"#, "either 'pip' or 'uv'"),
            (r#"{"env_vars": {"A=B": "1"}}"#, "cannot be the name"),
            (r#"{"config": {"setup_timeout_seconds": 0}}"#, "above 0, not 0"),
        ] {
            let error = RuntimeEnv::parse(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
