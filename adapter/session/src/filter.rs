//! Which tasks a session concerns: the `tasks` option of `attach` and `launch`.

use serde::Deserialize;

/// As it is written in the configuration: a pattern for the task's name, or an object that can also name the job.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "FilterForm")]
pub struct TaskFilter {
    name: Option<String>,
    job: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FilterForm {
    Name(String),
    Parts(FilterParts),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterParts {
    name: Option<String>,
    job: Option<String>,
}

impl From<FilterForm> for TaskFilter {
    fn from(form: FilterForm) -> Self {
        match form {
            FilterForm::Name(name) => Self { name: Some(name), job: None },
            FilterForm::Parts(parts) => Self { name: parts.name, job: parts.job },
        }
    }
}

impl TaskFilter {
    /// Whether a task of this name and job passes. A job is known by its name (a pattern) or by the start of its id.
    #[must_use]
    pub fn admits(&self, task_name: &str, job_id: &str, job_name: Option<&str>) -> bool {
        let name_fits = self.name.as_deref().is_none_or(|pattern| matches(pattern, task_name));
        let job_fits = self.job.as_deref().is_none_or(|pattern| {
            job_id.starts_with(pattern) || job_name.is_some_and(|name| matches(pattern, name))
        });
        name_fits && job_fits
    }
}

/// Whether `text` fits `pattern`, where `*` stands for any text and `?` for any one character.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            // Let the last star take one character more.
            _ => match last_star {
                Some((star, taken)) => {
                    last_star = Some((star, taken + 1));
                    p = star + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("index_*", "index_file", true),
            ("index_*", "reindex_file", false),
            ("*file*", "index_file", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xaayb", true),
            ("*a*b", "xaayc", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_filter_is_a_pattern_or_an_object() {
        let by_name: TaskFilter = serde_json::from_str(r#""index_*""#).unwrap();
        assert!(by_name.admits("index_file", "abcd", None));
        assert!(!by_name.admits("merge", "abcd", None));
        let by_job: TaskFilter = serde_json::from_str(r#"{"job": "nightly*"}"#).unwrap();
        assert!(by_job.admits("merge", "abcd", Some("nightly-3")));
        assert!(!by_job.admits("merge", "abcd", None));
        let by_id: TaskFilter = serde_json::from_str(r#"{"job": "ab"}"#).unwrap();
        assert!(by_id.admits("merge", "abcd", None));
        assert!(serde_json::from_str::<TaskFilter>(r#"{"nam": "x"}"#).is_err());
    }
}
