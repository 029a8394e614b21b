//! An engine with the web platform in it, for one script.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rquickjs::function::This;
use rquickjs::loader::{Bundle, ImportAttributes, Loader, Resolver};
use rquickjs::{
    CatchResultExt as _, CaughtError, Context, Ctx, Function, Module, Object, Persistent, Promise, Runtime, Value,
    WriteOptions,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::host::{self, Out};
use crate::wire::{self, Answer, Call, Fault, FaultKind, MAX_ANSWER, Reply, ToChild};

/// The web platform's part in JavaScript: a module with a function.
const PLATFORM: &str = concat!(
    "export default function (host) {\n",
    include_str!("web/events.js"),
    include_str!("web/encoding.js"),
    include_str!("web/url.js"),
    include_str!("web/fetch.js"),
    include_str!("web/console.js"),
    include_str!("web/run.js"),
    "}",
);
/// By what name it is loaded, once in each engine.
const PLATFORM_NAME: &str = "platform";
/// How much memory the platform needs before a script has any.
const OWN_MEMORY: usize = 4 << 20;
/// How deep calls may go, in bytes.
const STACK: usize = 768 * 1024;
/// By what name a script is known in its own messages.
const NAME: &str = "script.js";

/// The web platform's part in JavaScript, compiled: reading it takes four times as long as all else of a new engine.
#[derive(Clone, Copy)]
pub(super) struct Platform(Bundle);

impl Platform {
    /// Compiles it. It stays for as long as the process.
    pub(super) fn compile() -> rquickjs::Result<Self> {
        let runtime = Runtime::new()?;
        let context = Context::full(&runtime)?;
        let options = WriteOptions { strip_source: true, ..WriteOptions::default() };
        let compiled = context.with(|ctx| Module::declare(ctx, PLATFORM_NAME, PLATFORM)?.write(options))?;
        let module: (&'static str, &'static [u8]) = (PLATFORM_NAME, Vec::leak(compiled));
        Ok(Self(Bundle { 0: Vec::leak(vec![module]) }))
    }
}

/// Finds no module: a script is one file.
struct Nothing;

impl Resolver for Nothing {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        Err(rquickjs::Error::new_resolving_message(base, name, "nothing can be imported"))
    }
}

impl Loader for Nothing {
    fn load<'js>(
        &mut self,
        _: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js>> {
        Err(rquickjs::Error::new_loading(name))
    }
}

/// An engine for one script.
pub(super) struct Realm {
    // Dropped in this order: the engine insists that nothing of it is left when it goes.
    platform: Persistent<Object<'static>>,
    context: Context,
    runtime: Runtime,
    /// When what runs is to be broken off.
    deadline: Rc<Cell<Option<Instant>>>,
}

/// What a call comes to: an answer with its body, or why there is none.
pub(super) type Outcome = Result<(Answer, Vec<u8>), Fault>;

impl Realm {
    pub(super) fn new(web: Platform, out: &Rc<RefCell<Out>>) -> rquickjs::Result<Self> {
        let runtime = Runtime::new()?;
        runtime.set_loader(web.0, web.0);
        runtime.set_max_stack_size(STACK);
        let deadline = Rc::new(Cell::new(None::<Instant>));
        let until = Rc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || until.get().is_some_and(|until| Instant::now() >= until))));
        let context = Context::full(&runtime)?;
        let platform = context.with(|ctx| {
            let host = host::object(&ctx, out, Instant::now())?;
            let module: Object<'_> = Module::import(&ctx, PLATFORM_NAME)?.finish()?;
            let make: Function<'_> = module.get("default")?;
            let platform: Object<'_> = make.call((host,))?;
            Ok::<_, rquickjs::Error>(Persistent::save(&ctx, platform))
        })?;
        runtime.set_loader(Nothing, Nothing);
        Ok(Self { platform, context, runtime, deadline })
    }

    /// Whether something can be a script.
    pub(super) fn check(&self, source: &str) -> Result<(), Fault> {
        self.context.with(|ctx| {
            let declared = Module::declare(ctx.clone(), NAME, source).catch(&ctx);
            declared.map(drop).map_err(|error| fault(&error, FaultKind::Syntax))
        })
    }

    /// Runs a script. Fails only if the parent is gone.
    pub(super) fn run(&self, call: &Call, body: Vec<u8>, input: &mut File) -> io::Result<Outcome> {
        let deadline = Instant::now() + Duration::from_millis(call.milliseconds);
        self.deadline.set(Some(deadline));
        self.runtime.set_memory_limit(OWN_MEMORY + usize::try_from(call.memory).unwrap_or(0));
        let begun = self.context.with(|ctx| self.begin(&ctx, call, body));
        let promise = match begun {
            Ok(promise) => promise,
            Err(fault) => return Ok(Err(self.in_time(fault))),
        };
        if let Err(fault) = self.settle(&promise, deadline, input)? {
            return Ok(Err(self.in_time(fault)));
        }
        Ok(self.context.with(|ctx| Self::answer(&ctx, promise)).map_err(|fault| self.in_time(fault)))
    }

    /// What fails after the deadline fails because of it.
    fn in_time(&self, fault: Fault) -> Fault {
        match self.deadline.get() {
            Some(deadline) if Instant::now() >= deadline => Fault::new(FaultKind::Time, "the script took too long"),
            _ => fault,
        }
    }

    /// Begins a call: a promise of what the host is to be told in the end.
    fn begin(&self, ctx: &Ctx<'_>, call: &Call, body: Vec<u8>) -> Result<Persistent<Promise<'static>>, Fault> {
        let begin = || {
            let declared = Module::declare(ctx.clone(), NAME, call.source.as_str())?;
            let (module, loaded) = declared.eval()?;
            let platform = self.platform.clone().restore(ctx)?;
            let start: Function<'_> = platform.get("run")?;
            let parts = Object::new(ctx.clone())?;
            parts.set("method", &*call.method)?;
            parts.set("url", &*call.url)?;
            parts.set("headers", pairs(&call.headers))?;
            if call.has_body {
                parts.set("body", host::given(ctx, body)?)?;
            }
            parts.set("group", call.group.as_deref())?;
            if let Some((id, name)) = &call.key {
                let key = Object::new(ctx.clone())?;
                key.set("id", &**id)?;
                key.set("name", &**name)?;
                parts.set("key", key)?;
            }
            parts.set("request_id", &*call.request_id)?;
            parts.set("params", pairs(&call.params))?;
            parts.set("query", pairs(&call.query))?;
            // Once its first lines have run, for they may wait for something too.
            let then = move |_: Value<'_>| {
                let exported: Value<'_> = module.get("default")?;
                start.call::<_, Value<'_>>((exported, parts.clone()))
            };
            let then = Function::new(ctx.clone(), then)?;
            let chained: Promise<'_> = loaded.then()?.call((This(loaded.clone()), then))?;
            Ok::<_, rquickjs::Error>(Persistent::save(ctx, chained))
        };
        begin().catch(ctx).map_err(|error| fault(&error, FaultKind::Syntax))
    }

    /// Lets the script go on until its promise is kept or broken, or nothing can come of it any more.
    fn settle(
        &self,
        promise: &Persistent<Promise<'static>>,
        deadline: Instant,
        input: &mut File,
    ) -> io::Result<Result<(), Fault>> {
        loop {
            while self.runtime.is_job_pending() {
                // What a job throws is in the promise that it belongs to.
                let _ = self.runtime.execute_pending_job();
                if Instant::now() >= deadline {
                    return Ok(Err(Fault::new(FaultKind::Time, "the script took too long")));
                }
            }
            let (is_settled, next, is_asking) = self.context.with(|ctx| self.state(&ctx, promise));
            if is_settled {
                return Ok(Ok(()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Err(Fault::new(FaultKind::Time, "the script took too long")));
            }
            let wait = match (next, is_asking) {
                (None, false) => {
                    let message = "the script waits for something that never comes";
                    return Ok(Err(Fault::new(FaultKind::Thrown, message)));
                }
                (None, true) => left,
                (Some(next), _) => left.min(next),
            };
            if is_readable(input, wait)? {
                let Some((message, body)) = wire::read::<ToChild>(input)? else {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                if let ToChild::Answer { ask, outcome } = message {
                    let told = self.context.with(|ctx| {
                        self.tell(&ctx, ask, outcome, body)
                            .catch(&ctx)
                            .map_err(|error| fault(&error, FaultKind::Thrown))
                    });
                    if let Err(fault) = told {
                        return Ok(Err(fault));
                    }
                }
            } else {
                let fired = self.context.with(|ctx| {
                    self.call(&ctx, "fireTimer").catch(&ctx).map_err(|error| fault(&error, FaultKind::Thrown))
                });
                if let Err(fault) = fired {
                    return Ok(Err(fault));
                }
            }
        }
    }

    fn call(&self, ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<()> {
        let platform = self.platform.clone().restore(ctx)?;
        platform.get::<_, Function<'_>>(name)?.call::<_, ()>(())
    }

    /// Whether the promise is kept or broken, how long it is to the next timer, and whether something is asked of the parent.
    fn state(&self, ctx: &Ctx<'_>, promise: &Persistent<Promise<'static>>) -> (bool, Option<Duration>, bool) {
        let look = || {
            let is_settled = promise.clone().restore(ctx)?.result::<Value<'_>>().is_some();
            let platform = self.platform.clone().restore(ctx)?;
            let next: Option<f64> = platform.get::<_, Function<'_>>("untilNextTimer")?.call(())?;
            let is_asking: bool = platform.get::<_, Function<'_>>("isAsking")?.call(())?;
            Ok::<_, rquickjs::Error>((is_settled, next.map(|next| Duration::from_secs_f64(next / 1000.0)), is_asking))
        };
        // It fails only where there is no memory left: nothing can come of it.
        look().unwrap_or((true, None, false))
    }

    /// Tells the script what came of something that it asked.
    fn tell(&self, ctx: &Ctx<'_>, ask: u32, outcome: Result<Reply, String>, body: Vec<u8>) -> rquickjs::Result<()> {
        let platform = self.platform.clone().restore(ctx)?;
        let answer: Function<'_> = platform.get("answer")?;
        match outcome {
            Err(failure) => answer.call((ask, failure)),
            Ok(reply) => answer.call((ask, (), reply_for(ctx, reply, body)?)),
        }
    }

    /// What the script answered in the end.
    fn answer(ctx: &Ctx<'_>, promise: Persistent<Promise<'static>>) -> Outcome {
        let read = || {
            let promise = promise.restore(ctx)?;
            let parts: Object<'_> = promise.result().unwrap_or(Err(rquickjs::Error::Unknown))?;
            let body = host::body(&parts)?;
            let answer =
                Answer { status: parts.get("status")?, headers: host::headers(&parts)?, has_body: body.is_some() };
            Ok::<_, rquickjs::Error>((answer, body.unwrap_or_default()))
        };
        let (answer, body) = read().catch(ctx).map_err(|error| fault(&error, FaultKind::Thrown))?;
        if body.len() > MAX_ANSWER {
            let message = format!("the answer has {} bytes, and {MAX_ANSWER} is the most", body.len());
            return Err(Fault::new(FaultKind::Size, message));
        }
        Ok((answer, body))
    }
}

fn pairs(pairs: &[(String, String)]) -> Vec<Vec<&str>> {
    pairs.iter().map(|(name, value)| vec![name.as_str(), value.as_str()]).collect()
}

fn reply_for<'js>(ctx: &Ctx<'js>, reply: Reply, body: Vec<u8>) -> rquickjs::Result<Value<'js>> {
    use rquickjs::IntoJs as _;
    match reply {
        Reply::Secret(value) => value.into_js(ctx),
        Reply::CompleteSecret(all) => {
            let complete = Object::new(ctx.clone())?;
            for (scope, owner, value) in all {
                let one = Object::new(ctx.clone())?;
                one.set("name", owner)?;
                one.set("value", value)?;
                complete.set(scope, one)?;
            }
            Ok(complete.into_value())
        }
        Reply::Fetched { status, status_text, url, redirected, headers, has_body } => {
            let parts = Object::new(ctx.clone())?;
            parts.set("status", status)?;
            parts.set("status_text", status_text)?;
            parts.set("url", url)?;
            parts.set("redirected", redirected)?;
            parts.set("headers", pairs(&headers))?;
            if has_body {
                parts.set("body", host::given(ctx, body)?)?;
            }
            Ok(parts.into_value())
        }
    }
}

/// Waits for something to read, or until the time is over.
fn is_readable(input: &File, wait: Duration) -> io::Result<bool> {
    let mut waiting = [PollFd::new(input, PollFlags::IN)];
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut waiting, Some(&wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What was thrown, with its place if that is known.
fn fault(error: &CaughtError<'_>, kind: FaultKind) -> Fault {
    let CaughtError::Exception(exception) = error else {
        return match error {
            // Out of memory throws null: there is none for anything else.
            CaughtError::Value(value) if value.is_null() => {
                Fault::new(FaultKind::Memory, "the script needs too much memory")
            }
            CaughtError::Value(value) => {
                let said = value.as_string().and_then(|text| text.to_string().ok());
                Fault::new(
                    FaultKind::Thrown,
                    said.unwrap_or_else(|| "something that is no error was thrown".to_owned()),
                )
            }
            CaughtError::Error(error) => Fault::new(FaultKind::Thrown, error.to_string()),
            CaughtError::Exception(_) => Fault::new(FaultKind::Thrown, "something was thrown"),
        };
    };
    let name: String = exception.as_object().get("name").unwrap_or_else(|_| "Error".to_owned());
    let message = exception.message().unwrap_or_default();
    let stack = exception.stack();
    let (line, column) = stack.as_deref().and_then(place).unzip();
    let kind = match () {
        () if message == "out of memory" => FaultKind::Memory,
        () if kind == FaultKind::Syntax && name != "SyntaxError" => FaultKind::Thrown,
        () => kind,
    };
    Fault {
        kind,
        message: format!("{name}: {message}"),
        line,
        column,
        stack: stack.as_deref().map(of_script).filter(|told| !told.is_empty()),
    }
}

/// What a stack tells of the script, without the platform around it.
fn of_script(stack: &str) -> String {
    stack.lines().filter(|frame| !frame.contains("(platform:")).fold(String::new(), |told, frame| told + frame + "\n")
}

/// Line and column of the first place in the script that a stack names.
fn place(stack: &str) -> Option<(u32, u32)> {
    let at = stack.find("script.js:")?;
    let mut numbers = stack[at + "script.js:".len()..].split(|c: char| !c.is_ascii_digit());
    let line = numbers.next()?.parse().ok()?;
    Some((line, numbers.next().and_then(|column| column.parse().ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::{of_script, place};

    #[test]
    fn a_stack_is_told_without_the_platform() {
        let stack = "    at f (script.js:12:7)\n    at default (script.js:20:1)\n    at run (platform:925:44)\n";
        assert_eq!(of_script(stack), "    at f (script.js:12:7)\n    at default (script.js:20:1)\n");
    }

    #[test]
    fn a_stack_names_the_place_in_the_script() {
        for (stack, wanted) in [
            ("    at f (script.js:12:7)\n    at <anonymous> (script.js:20:1)\n", Some((12, 7))),
            ("    at script.js:3\n", Some((3, 1))),
            ("    at fetch (eval_script:9:2)\n", None),
        ] {
            assert_eq!(place(stack), wanted, "{stack}");
        }
    }
}
