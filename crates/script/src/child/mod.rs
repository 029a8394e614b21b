//! The process that runs scripts, one after the other, each in an engine of its own.

mod confine;
mod host;
mod realm;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use self::host::Out;
use self::realm::{Platform, Realm};
use crate::wire::{self, FromChild, ToChild};

/// How little others have to wait for a script (`nice(2)`): requests that are only verified go before all that scripts compute.
pub(crate) const LAST: i32 = 19;

/// Reads what is to be done from standard input until that ends. Gives up nearly everything before that.
pub fn run() -> io::Result<()> {
    // Before anything is computed: where many are ended at once, as many start at once. Where that cannot be, scripts are as important
    // as all else.
    let _ = rustix::process::setpriority_process(None, LAST);
    // Not through the standard library's buffers: what has been read of the pipe must be known when it is waited for.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let out = Rc::new(RefCell::new(Out { pipe, lines: 0 }));
    let web = Platform::compile().map_err(io::Error::other)?;
    let mut spare = Some(Realm::new(web, &out).map_err(io::Error::other)?);
    confine::confine(&input, &out.borrow().pipe)?;
    out.borrow_mut().send(&FromChild::Ready, &[])?;
    while let Some((message, body)) = wire::read::<ToChild>(&mut input)? {
        let realm = match spare.take() {
            Some(realm) => realm,
            None => Realm::new(web, &out).map_err(io::Error::other)?,
        };
        match message {
            ToChild::Check { source } => {
                let checked = realm.check(&source);
                out.borrow_mut().send(&FromChild::Checked(checked), &[])?;
            }
            ToChild::Run(call) => {
                out.borrow_mut().lines = 0;
                let (done, body) = match realm.run(&call, body, &mut input)? {
                    Ok((answer, body)) => (Ok(answer), body),
                    Err(fault) => (Err(fault), Vec::new()),
                };
                out.borrow_mut().send(&FromChild::Done(done), &body)?;
            }
            // To something that was asked by a call that has ended.
            ToChild::Answer { .. } => {
                spare = Some(realm);
                continue;
            }
        }
        drop(realm);
        // While nobody waits.
        spare = Realm::new(web, &out).ok();
        out.borrow_mut().send(&FromChild::Ready, &[])?;
    }
    Ok(())
}
