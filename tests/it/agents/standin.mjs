// A stand-in for Claude Code that works in milliseconds: keeps conversations in files, resumes them, takes messages into a
// running turn, can be interrupted. It keeps a ledger of what reached it, and tells of a second process on one session.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { randomUUID } from 'node:crypto';

if (process.argv.includes('--version')) {
    console.log('stand-in');
    process.exit();
}

const option = (name) => process.argv.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
const isResumed = option('resume') !== undefined;
const session = option('resume') ?? option('session-id');
const home = process.env.CLAUDE_CONFIG_DIR;
const conversation = path.join(home, 'projects', process.cwd().replace(/[^A-Za-z0-9]/g, '-'), `${session}.jsonl`);
const say = (value) => fs.writeSync(1, `${JSON.stringify(value)}\n`);
const keep = (value) => fs.appendFileSync(conversation, `${JSON.stringify(value)}\n`);
const note = (file, words) => fs.appendFileSync(path.join(home, file), `${words}\n`);

// The pid of whoever has the session; one that was killed is no longer there, or has no arguments left.
const owner = path.join(home, `owner-${session}`);
if (fs.existsSync(owner)) {
    const other = fs.readFileSync(owner, 'utf8');
    const words = fs.existsSync(`/proc/${other}/cmdline`) ? fs.readFileSync(`/proc/${other}/cmdline`, 'utf8') : '';
    if (words.includes(session)) note('violations', `${process.pid} and ${other} both have the session ${session}`);
}
fs.writeFileSync(owner, `${process.pid}`);

const fail = (words) => {
    say({ type: 'result', subtype: 'error_during_execution', is_error: true, errors: [words], total_cost_usd: 0 });
    process.exit(1);
};
if (isResumed && !fs.existsSync(conversation)) fail(`No conversation found with session ID: ${session}`);
if (!isResumed && fs.existsSync(conversation)) fail(`Session ID ${session} is already in use.`);
fs.mkdirSync(path.dirname(conversation), { recursive: true });

const waiting = [];
let isWorking = false;
let isInterrupted = false;
let isClosed = false;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A prompt is `work STEPS MILLISECONDS TOKEN`.
const tokenOf = (text) => text.split(' ')[3];

// From here on the message is part of the conversation.
const take = (message, begins) => {
    keep({ type: 'user', uuid: message.uuid, text: message.text, begins });
    note('ledger', tokenOf(message.text));
    say({ type: 'user', isReplay: true, uuid: message.uuid, parent_tool_use_id: null, message: { role: 'user', content: message.text } });
};

const work = async (text) => {
    isWorking = true;
    isInterrupted = false;
    say({ type: 'system', subtype: 'init', model: 'stand-in', claude_code_version: '0', permissionMode: 'default' });
    const [, steps, milliseconds, token] = text.split(' ');
    const tokens = [token];
    for (let step = 0; step < Number(steps) && !isInterrupted; step += 1) {
        say({ type: 'stream_event', event: { type: 'content_block_delta', delta: { type: 'text_delta', text: `${token} ` } } });
        await pause(Number(milliseconds));
        if (step + 1 < Number(steps) && waiting.length > 0 && !isInterrupted) {
            const joined = waiting.shift();
            take(joined, false);
            tokens.push(tokenOf(joined.text));
        }
    }
    const uuid = randomUUID();
    if (isInterrupted) {
        keep({ type: 'user', uuid, text: '[Request interrupted by user]', ends: true });
        say({ type: 'result', subtype: 'error_during_execution', is_error: true, errors: ['interrupted'], total_cost_usd: 0 });
    } else {
        const answer = `answers ${tokens.join(' ')}`;
        say({ type: 'assistant', uuid, parent_tool_use_id: null, message: { model: 'stand-in', content: [{ type: 'text', text: answer }] } });
        say({ type: 'result', subtype: 'success', is_error: false, result: answer, total_cost_usd: 0, usage: { input_tokens: 1, output_tokens: 1 } });
        await pause(15);
        keep({ type: 'assistant', uuid, message: { content: [{ type: 'text', text: answer }], stop_reason: 'end_turn' }, ends: true });
    }
    isWorking = false;
    next();
};

const next = () => {
    if (isWorking) return;
    const message = waiting.shift();
    if (message) {
        take(message, true);
        work(message.text);
    } else if (isClosed) {
        process.exit(0);
    }
};

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
    const value = JSON.parse(line);
    if (value.type === 'user') {
        waiting.push({ uuid: value.uuid, text: value.message.content });
        next();
    } else if (value.type === 'control_request') {
        const isGreeting = value.request.subtype === 'initialize';
        const response = isGreeting ? { account: { apiKeySource: 'none needed' } } : {};
        say({ type: 'control_response', response: { subtype: 'success', request_id: value.request_id, response } });
        if (value.request.subtype === 'interrupt') isInterrupted = true;
    }
});
lines.on('close', () => {
    isClosed = true;
    next();
});

if (process.env.CLAUDE_CODE_RESUME_INTERRUPTED_TURN === '1') {
    const kept = fs.readFileSync(conversation, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    const begun = kept.findLastIndex((entry) => entry.begins);
    if (begun > kept.findLastIndex((entry) => entry.ends)) work(kept[begun].text);
}
