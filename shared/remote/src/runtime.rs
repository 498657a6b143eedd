//! Lets plain threads wait for what the libraries do asynchronously.
//!
//! One thread drives all connections; the calling threads wait for their own operation. Knows no store.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::answer::{Answer, LAST};
use crate::retry::{GLANCE, Retry};

/// Ends when it is dropped.
pub(crate) struct Runtime {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// # Errors
    /// Those of epoll_create(2) and clone(2).
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = Builder::new().name("remote".to_owned()).spawn(move || {
            // It ends when the sender is dropped, which is told as an error.
            let _ = runtime.block_on(ended);
            // A name that is looked up is waited for by nobody.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            handle,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Waits for an operation, and for the last answer of the store; `None` when the caller wished to stop.
    pub(crate) fn wait<T>(
        &self,
        retry: &Retry,
        work: impl Future<Output = T>,
    ) -> Option<(T, Answer)> {
        let stopped = async {
            while !retry.is_stopped() {
                sleep(GLANCE).await;
            }
        };
        let with_answer = LAST.scope(RefCell::default(), async {
            let done = work.await;
            (done, LAST.with(RefCell::take))
        });
        self.handle.block_on(async {
            tokio::select! {
                done = with_answer => Some(done),
                () = stopped => None,
            }
        })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Only a panic is an error here, and it was told when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::place::Options;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn threads_wait_side_by_side() {
        let runtime = Runtime::start().unwrap();
        let retry = Retry::new(&Options::default());
        let begun = std::time::Instant::now();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (runtime, retry) = (&runtime, &retry);
                scope.spawn(move || {
                    let work = async {
                        sleep(Duration::from_millis(300)).await;
                        number
                    };
                    assert_eq!(runtime.wait(retry, work).unwrap().0, number);
                });
            }
        });
        assert!(begun.elapsed() < Duration::from_millis(1000));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let runtime = Runtime::start().unwrap();
        let options = Options {
            is_stopped: Arc::new(|| true),
            ..Options::default()
        };
        let work = async { sleep(Duration::from_secs(3600)).await };
        assert!(runtime.wait(&Retry::new(&options), work).is_none());
    }
}
