//! What tasks print, with the task's name in front.

use std::borrow::Cow;

use dap::{OutputEventBody, OutputEventCategory, events};

use crate::{
    event::Output,
    limits::OUTPUT_BYTES_MAX,
    session::{Phase, Session},
};

impl Session {
    pub(crate) fn on_output(&mut self, output: &Output) {
        // A driver shows what its tasks print, so a session that launched it would show everything twice.
        if self.phase != Phase::Attached || self.launch.is_some() {
            return;
        }
        let speaker = match output.task_name.as_str() {
            "" => format!("worker {} on {}", output.pid, output.node_name),
            name => name.to_owned(),
        };
        let category = if output.stderr { OutputEventCategory::Stderr } else { OutputEventCategory::Stdout };
        let body = OutputEventBody {
            category: Some(category),
            output: prefixed(&speaker, &cut(&output.text)),
            ..Default::default()
        };
        self.emit::<events::Output>(&body);
    }
}

/// Each line with its speaker, each ended.
pub(crate) fn prefixed(speaker: &str, text: &str) -> String {
    text.lines().map(|line| format!("[{speaker}] {line}\n")).collect()
}

/// The text, as far as one message shows it.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= OUTPUT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(OUTPUT_BYTES_MAX);
    Cow::Owned(format!("{}… ({} bytes more were cut)\n", &text[..end], text.len() - end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_speaker_and_long_texts_say_that_they_are_cut() {
        assert_eq!(prefixed("map", "a\nb"), "[map] a\n[map] b\n");
        let cut_text = cut(&"é".repeat(OUTPUT_BYTES_MAX)).into_owned();
        assert!(cut_text.ends_with("bytes more were cut)\n"));
    }
}
