//! What the schema demands of a value beyond its shape: ranges, and the values of closed enumerations.

/// The largest integer that every JSON reader keeps exact.
const EXACT_INTEGER_MAX: i64 = (1 << 53) - 1;

/// The place that is being looked at, and what was found so far.
#[derive(Default)]
pub struct At {
    path: Vec<String>,
    found: Vec<String>,
}

impl At {
    /// A place below a message's `part`, such as `body`.
    pub fn new(part: &str) -> Self {
        Self { path: vec![part.to_owned()], found: Vec::new() }
    }

    /// Reports what is wrong here.
    pub fn say(&mut self, text: impl AsRef<str>) {
        self.found.push(format!("{}: {}", self.path.join("."), text.as_ref()));
    }

    /// Looks at the field `name` of this place.
    pub fn field<T: Validate>(&mut self, name: &str, value: &T) {
        self.path.push(name.to_owned());
        value.validate(self);
        self.path.pop();
    }

    /// Reports a number in the field `name` that is outside its range.
    pub fn within(
        &mut self,
        name: &str,
        value: Option<impl Into<f64>>,
        minimum: Option<f64>,
        maximum: Option<f64>,
    ) {
        let Some(value) = value.map(Into::into) else { return };
        if minimum.is_some_and(|minimum| value < minimum) || maximum.is_some_and(|maximum| value > maximum) {
            self.path.push(name.to_owned());
            self.say(format!("{value} is out of its range"));
            self.path.pop();
        }
    }

    /// What was found, one sentence each, in the order of the fields.
    pub fn into_found(self) -> Vec<String> {
        self.found
    }
}

/// A value that can say what the schema forbids in it.
pub trait Validate {
    /// Reports each violation in this value and below it.
    fn validate(&self, at: &mut At);
}

impl<T: Validate> Validate for Option<T> {
    fn validate(&self, at: &mut At) {
        if let Some(value) = self {
            value.validate(at);
        }
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn validate(&self, at: &mut At) {
        for (index, value) in self.iter().enumerate() {
            at.field(&format!("[{index}]"), value);
        }
    }
}

impl Validate for i64 {
    fn validate(&self, at: &mut At) {
        if self.abs() > EXACT_INTEGER_MAX {
            at.say(format!("{self} is beyond what JSON readers keep exact"));
        }
    }
}

impl Validate for serde_json::Map<String, serde_json::Value> {
    fn validate(&self, _: &mut At) {}
}
