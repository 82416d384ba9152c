//! A conversation word by word, as transcripts contain it.

use serde_json::{Value, json};

use super::random::SeededRandom;

/// One turn of the conversation, with the tool calls that the agent made right after it.
pub(super) struct SimulatedTurn {
    pub(super) is_agent: bool,
    pub(super) content: String,
    /// Every word with its start and end, in milliseconds from the start of the call.
    words: Vec<(String, u32, u32)>,
    pub(super) tool_calls: Vec<SimulatedToolCall>,
}

pub(super) struct SimulatedToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    /// `None` until the tool has returned.
    pub(super) result: Option<String>,
}

impl SimulatedTurn {
    /// A turn that begins at `at_ms`. Moves `at_ms` to the time at which the next turn can begin.
    pub(super) fn new(is_agent: bool, content: String, at_ms: &mut u32, random: &mut SeededRandom) -> Self {
        let mut words = Vec::new();
        for word in content.split(' ') {
            let letters = u32::try_from(word.chars().count()).unwrap_or(10);
            let end_ms = *at_ms + 90 + letters * random.range(45, 65);
            words.push((word.to_owned(), *at_ms, end_ms));
            *at_ms = end_ms + random.range(5, 35);
        }
        *at_ms += random.range(250, 600);
        Self { is_agent, content, words, tool_calls: Vec::new() }
    }

    pub(super) fn word_count(&self) -> usize {
        self.words.len()
    }

    fn role(&self) -> &'static str {
        if self.is_agent { "agent" } else { "user" }
    }

    fn to_json(&self) -> Value {
        let words = self.words.iter().map(|(word, start, end)| {
            json!({ "word": word, "start": f64::from(*start) / 1000.0, "end": f64::from(*end) / 1000.0 })
        });
        json!({ "role": self.role(), "content": self.content, "words": words.collect::<Vec<_>>() })
    }

    /// The turn with its first `count` words only.
    fn first_words(&self, count: usize) -> Self {
        let words: Vec<_> = self.words.iter().take(count).cloned().collect();
        let content = words.iter().map(|(word, ..)| word.as_str()).collect::<Vec<_>>().join(" ");
        Self { is_agent: self.is_agent, content, words, tool_calls: Vec::new() }
    }
}

/// The conversation as lines of `Agent: …` and `User: …`.
pub(super) fn transcript_text(turns: &[SimulatedTurn]) -> String {
    let line = |turn: &SimulatedTurn| format!("{}: {}\n", if turn.is_agent { "Agent" } else { "User" }, turn.content);
    turns.iter().map(line).collect()
}

pub(super) fn transcript_object(turns: &[SimulatedTurn]) -> Value {
    turns.iter().map(SimulatedTurn::to_json).collect()
}

pub(super) fn transcript_with_tool_calls(turns: &[SimulatedTurn]) -> Value {
    let mut items = Vec::new();
    for turn in turns {
        items.push(turn.to_json());
        for tool in &turn.tool_calls {
            items.push(json!({ "role": "tool_call_invocation", "tool_call_id": tool.id, "name": tool.name,
                "type": "custom", "arguments": tool.arguments }));
            if let Some(result) = &tool.result {
                items.push(json!({ "role": "tool_call_result", "tool_call_id": tool.id, "successful": true,
                    "content": result }));
            }
        }
    }
    Value::Array(items)
}

/// The conversation up to its first `count` words.
pub(super) fn first_words_of(turns: &[SimulatedTurn], count: usize) -> Vec<SimulatedTurn> {
    let mut remaining = count;
    let mut spoken = Vec::new();
    for turn in turns {
        if remaining == 0 {
            break;
        }
        spoken.push(turn.first_words(remaining));
        remaining = remaining.saturating_sub(turn.word_count());
    }
    spoken
}
