//! The businesses that are called, and the conversations. All data is invented.

/// A business whose agent answers the phone. `{name}`, `{day}` and `{hour}` are replaced per call.
pub(super) struct Business {
    pub(super) agent_id: &'static str,
    pub(super) agent_name: &'static str,
    pub(super) agent_version: u32,
    /// Phone number, from the range 555-01xx that is reserved for fiction.
    pub(super) number: &'static str,
    /// The spoken lines; agent and user alternate, and the agent begins.
    pub(super) dialogue: &'static [&'static str],
    /// The tool that the agent calls after line `tool_after_line` of the dialogue.
    pub(super) tool: BusinessTool,
    pub(super) tool_after_line: usize,
    /// The messages of a chat; user and agent alternate, and the user begins.
    pub(super) chat_messages: &'static [&'static str],
    pub(super) summary: &'static str,
    /// Summary of a second analysis of the same call.
    pub(super) revised_summary: &'static str,
    /// Name and value of a custom analysis field.
    pub(super) custom_analysis_field: (&'static str, &'static str),
    /// The number to which calls are transferred.
    pub(super) transfer_number: &'static str,
}

pub(super) struct BusinessTool {
    pub(super) name: &'static str,
    /// The arguments as JSON text.
    pub(super) arguments: &'static str,
    pub(super) result: &'static str,
}

pub(super) const CALLER_NAMES: [&str; 12] = [
    "Robin Vale",
    "Amina Okoro",
    "Jonas Lindqvist",
    "Mei Tanaka",
    "Lucía Ferrer",
    "Peter Adeyemi",
    "Zoë Marchetti",
    "Samir Haddad",
    "Greta Holm",
    "Nikhil Rao",
    "Hannah Brookes",
    "Tomasz Zieliński",
];

pub(super) const DAYS: [&str; 5] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];

pub(super) const HOURS: [&str; 6] = ["nine", "half past nine", "ten", "eleven", "two", "half past three"];

/// Area codes of the simulated users, always followed by 555-01xx.
pub(super) const AREA_CODES: [&str; 6] = ["202", "312", "415", "512", "617", "206"];

pub(super) const BUSINESSES: [Business; 3] = [
    Business {
        agent_id: "agent_sim_dental_reception",
        agent_name: "Larkfield Dental reception",
        agent_version: 7,
        number: "+12025550178",
        dialogue: &[
            "Larkfield Dental, good morning, this is Nora. How can I help you?",
            "Hi, my name is {name}. I have had a toothache since the weekend and I would like to see a doctor.",
            "I am sorry to hear that. Have you been with us before, and is it painful right now?",
            "Yes, I was there last spring. It comes and goes, mostly when I drink something cold.",
            "Thank you. Let me look for the next free appointment with Doctor Amsel.",
            "{day} or later would be best, I have to work before that.",
            "On {day} there is one at {hour}. Shall I put you down for it?",
            "Yes, that works well for me.",
            "Done. You will get a text message with the address. Please bring a list of any medicine you take.",
            "Great, thank you very much. Goodbye.",
            "Get well soon, and goodbye.",
        ],
        tool: BusinessTool {
            name: "find_appointment",
            arguments: r#"{"doctor":"Amsel","not_before":"{day}","reason":"toothache"}"#,
            result: r#"{"day":"{day}","hour":"{hour}","room":3}"#,
        },
        tool_after_line: 5,
        chat_messages: &[
            "Do you have anything free on {day}?",
            "On {day} at {hour}, with Doctor Amsel. Shall I book it?",
            "Yes please 🙂 {name}",
            "Booked. See you on {day}.",
        ],
        summary: "{name} has had a toothache since the weekend and got an appointment with Doctor Amsel on {day} at {hour}.",
        revised_summary: "{name}, a returning patient, booked {day} at {hour} because of sensitivity to cold.",
        custom_analysis_field: ("appointment", "{day} {hour}"),
        transfer_number: "+12025550166",
    },
    Business {
        agent_id: "agent_sim_hotel_desk",
        agent_name: "Juniper House front desk",
        agent_version: 12,
        number: "+13125550121",
        dialogue: &[
            "Juniper House, this is the front desk. What can I do for you?",
            "Good evening, {name} speaking. We have a room booked for {day} and our train will be rather late.",
            "No problem at all. May I have the number of your booking, or the name it was made under?",
            "It should be under {name}, two nights, one room with a view of the garden.",
            "One moment while I look it up.",
            "Of course, take your time. There is also the question of breakfast, if that is still possible.",
            "I have it here. The room is held for you all night, and breakfast is served from {hour} on for late risers.",
            "Wonderful. How do we get in after midnight?",
            "The side door opens with a code that I am sending you now. Your key will be in the small safe next to it.",
            "Perfect, that is all I needed. Good night.",
            "We look forward to seeing you. Good night.",
        ],
        tool: BusinessTool {
            name: "look_up_booking",
            arguments: r#"{"guest":"{name}","arrival":"{day}"}"#,
            result: r#"{"nights":2,"room":"garden","late_arrival":true,"breakfast_from":"{hour}"}"#,
        },
        tool_after_line: 5,
        chat_messages: &[
            "Hi, can we check in late on {day}?",
            "Of course. The side door opens with a code, which I will send you on {day}.",
            "Perfect, thanks. {name}",
            "You are welcome. Breakfast begins at {hour}.",
        ],
        summary: "{name} arrives late on {day}; the room is held, a door code was sent, breakfast from {hour}.",
        revised_summary: "Late arrival on {day} for {name}. Asked about breakfast and how to get in after midnight.",
        custom_analysis_field: ("late_arrival", "{day}"),
        transfer_number: "+13125550133",
    },
    Business {
        agent_id: "agent_sim_plumbing_dispatch",
        agent_name: "Fernhill Plumbing dispatch",
        agent_version: 3,
        number: "+14155550107",
        dialogue: &[
            "Fernhill Plumbing, you are speaking with the dispatch desk. Is this an emergency?",
            "I hope not yet. Water is dripping from the pipe under the kitchen sink, and the bucket fills in an hour.",
            "Understood. Could you close the small valve below the sink and tell me whether it stops?",
            "Hold on. Yes, it is much slower now, only a drop every few seconds.",
            "Good. Then nothing will be damaged tonight. Who am I speaking with, and where is it?",
            "This is {name}, the second floor at Mill Lane. The bell does not work, so please call.",
            "Let me see who is near you.",
            "Any time on {day} is fine for me.",
            "Our fitter can be with you on {day} at {hour}, and he will ring you ten minutes before.",
            "That is a relief. What is it going to cost?",
            "The visit is free if we repair it, otherwise forty dollars. You will have it in writing in a minute.",
            "All right, thank you, see you then.",
        ],
        tool: BusinessTool {
            name: "nearest_fitter",
            arguments: r#"{"street":"Mill Lane","urgency":"low","day":"{day}"}"#,
            result: r#"{"fitter":"crew 4","day":"{day}","hour":"{hour}"}"#,
        },
        tool_after_line: 7,
        chat_messages: &[
            "The tap in our bathroom drips, when could you come?",
            "On {day} at {hour} a fitter is near you. Does that suit you?",
            "Yes. {name}, Mill Lane, please call, the bell is broken",
            "Noted. He will call ten minutes before.",
        ],
        summary: "{name} reported a leaking pipe under the kitchen sink. The valve is closed; a fitter comes on {day} at {hour}.",
        revised_summary: "Leak contained. Visit on {day} at {hour}; the doorbell is broken, so {name} wants to be called.",
        custom_analysis_field: ("visit", "{day} {hour}"),
        transfer_number: "+14155550119",
    },
];
