//! Bounds of the API, in one place. `ChatGPT` actions allow 45 s and 100,000 characters per call
//! (`developers.openai.com/api/docs/actions/production`); ours keep a margin below both.

/// Bounds of the setting for the longest JSON response, in characters. The least leaves room for every field of an answer.
pub const RESPONSE_CHARS: std::ops::RangeInclusive<usize> = 20_000..=95_000;
/// Longest wait a caller may ask for, in seconds.
pub const WAIT_SECONDS: u32 = 40;
/// Longest task description (the prompt), in characters.
pub const DESCRIPTION_CHARS: usize = 60_000;
/// Longest task title, in characters.
pub const TITLE_CHARS: usize = 200;
/// Longest addition to a system prompt, in characters.
pub const SYSTEM_PROMPT_CHARS: usize = 20_000;
/// Longest name of an agent, in characters.
pub const NAME_CHARS: usize = 100;
/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS: usize = 200;
/// Largest output schema, in bytes of JSON.
pub const OUTPUT_SCHEMA_BYTES: usize = 20_000;
/// Most items on one page.
pub const PAGE_ITEMS: u32 = 200;
/// Items on a page when the caller names no limit.
pub const DEFAULT_PAGE_ITEMS: u32 = 50;
/// Longest task run time a caller may ask for, in seconds.
pub const TIMEOUT_SECONDS: u32 = 86_400;
/// Largest token budget a caller may set.
pub const BUDGET_TOKENS: i64 = 1_000_000_000;
/// Most output of a turn a caller may ask for, in bytes.
pub const OUTPUT_BYTES: i64 = 1 << 40;
/// Smallest and largest memory limit a caller may set, in bytes. The CLI alone takes about 200 MB.
pub const MEMORY_BYTES: std::ops::RangeInclusive<i64> = 268_435_456..=1 << 42;
/// Smallest and largest number of processes a caller may allow an agent.
pub const PROCESSES: std::ops::RangeInclusive<i64> = 2..=100_000;
/// Highest budget a caller may set for one task or agent, in US dollars.
pub const BUDGET_USD: f64 = 1_000.0;
/// Characters of the latest output kept for status answers.
pub const LATEST_OUTPUT_CHARS: usize = 4_000;
/// Characters of a stopped turn's last message kept as its partial result. The message's event has it whole.
pub const PARTIAL_RESULT_CHARS: usize = 50_000;
/// Most files one call may send along or get, as `ChatGPT` has it.
pub const FILES: usize = 10;
/// Largest file that is fetched, in bytes.
pub const FILE_BYTES: u64 = 50 << 20;
/// Largest file `ChatGPT` takes from an action, in bytes.
pub const ANSWER_FILE_BYTES: u64 = 10_000_000;
/// Bytes of a diff kept with a run.
pub const DIFF_BYTES: usize = 1 << 20;
/// Longest message between agents, in characters.
pub const MESSAGE_CHARS: usize = 16_000;
/// Longest text a team remembers as a claim, a decision, a reason or a comment, in characters.
pub const MEMORY_CHARS: usize = 8_000;
/// Longest text of an artifact, in characters. More belongs into a file.
pub const ARTIFACT_CHARS: usize = 60_000;
/// Most sources of a finding, or alternatives of a decision.
pub const MEMORY_ITEMS: usize = 20;
/// Longest search query, in characters.
pub const QUERY_CHARS: usize = 500;
/// Messages that may lead to one another by waking agents, before the next one wakes nobody.
pub const MESSAGE_HOPS: u32 = 8;
/// Largest file of a role, in bytes.
pub const ROLE_BYTES: usize = 128 * 1024;
/// Longest description of a role, in characters.
pub const ROLE_DESCRIPTION_CHARS: usize = 300;
/// Most tool rules, or MCP servers, a role names.
pub const ROLE_ITEMS: usize = 50;
