//! The HTTP client under all object stores: slows down what is sent, ends what is silent, keeps the answers.
//!
//! Knows no store and no credentials.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::answer::{Answer, deepest, is_metadata_host, keep, lose};
use crate::rate::Rate;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The services that tell a machine of a provider its credentials are near, or not there at all.
const METADATA_LIMIT: Duration = Duration::from_secs(2);
/// After the last piece of a large body, so many times the limit: buffers hold up to some MB of it, and a slow line
/// takes minutes for those.
const PATIENCE: u32 = 4;
const LARGE_BODY_BYTES: usize = 1024 * 1024;
/// Of what a store tells where it is asked to do something; more is cut off.
const MOST_TOLD_BYTES: usize = 1024 * 1024;

/// One pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: reqwest::Client,
    rate: Arc<Rate>,
    stall_limit: Duration,
}

/// That a connection was silent.
#[derive(Debug)]
struct Silent(Duration);

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no answer for {} s", self.0.as_secs())
    }
}

impl std::error::Error for Silent {}

impl Web {
    /// # Errors
    /// Those of the certificates of this machine.
    pub(crate) fn new(rate: Arc<Rate>, stall_limit: Duration) -> reqwest::Result<Self> {
        // An error says that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("bk/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            rate,
            stall_limit,
        })
    }

    /// Sends one request; a status that is no success is no error here.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    async fn send(
        &self,
        request: reqwest::Request,
        alive: &Alive,
    ) -> Result<reqwest::Response, HttpError> {
        let sent = self.client.execute(request);
        tokio::pin!(sent);
        loop {
            let (at, limit) = alive.get();
            tokio::select! {
                answered = &mut sent => return answered.map_err(failed),
                () = sleep_until(at + limit) => {
                    if alive.get() == (at, limit) {
                        return Err(HttpError::new(HttpErrorKind::Unknown, Silent(limit)));
                    }
                }
            }
        }
    }
}

/// The retries of the library are off: ours are made anew, and signed anew.
fn failed(error: reqwest::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error.without_url())
}

impl HttpConnector for Web {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

#[async_trait]
impl HttpService for Web {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let mut answer = Answer {
            host: parts.uri.host().unwrap_or_default().to_owned(),
            ..Answer::default()
        };
        let limit = match is_metadata_host(&answer.host) {
            true => METADATA_LIMIT.min(self.stall_limit),
            false => self.stall_limit,
        };
        let url = parts.uri.to_string().parse();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        // S3 begins to answer before it is done where it joins parts, and tells a failure in the body.
        let may_hide_failure = *sent.method() == http::Method::POST;
        let alive = Alive::new(limit);
        if body.content_length() > 0 {
            let body = Sent::new(body, self.rate.clone(), alive.clone(), limit);
            *sent.body_mut() = Some(reqwest::Body::wrap(body));
        }
        let response = self.send(sent, &alive).await.inspect_err(|error| {
            answer.lost = Some(deepest(error));
            keep(answer.clone());
        })?;
        let response: http::Response<reqwest::Body> = response.into();
        let (parts, body) = response.into_parts();
        answer.status = Some(parts.status);
        answer.headers.clone_from(&parts.headers);
        let body = Received::new(body, limit);
        if parts.status.is_success() && !may_hide_failure {
            keep(answer);
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        keep(answer.clone());
        let body = body.told().await?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        if parts.status.is_success() {
            answer.status = hidden_status(&answer.body).or(answer.status);
        }
        keep(answer);
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

/// The status of a failure that the body of a success tells: that of an answer within it, as those of Azure's batches.
fn hidden_status(body: &str) -> Option<StatusCode> {
    if !body.contains("<Error>") {
        return None;
    }
    let inner = body
        .split_once("HTTP/1.1 ")
        .and_then(|(_, rest)| rest.get(..3));
    let inner = inner.and_then(|status| status.parse().ok());
    Some(inner.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// When there was last a sign of life, and how long the silence after it may be; shared by the two ends of a request.
#[derive(Debug, Clone)]
struct Alive(Arc<Mutex<(Instant, Duration)>>);

impl Alive {
    fn new(limit: Duration) -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), limit))))
    }

    fn get(&self) -> (Instant, Duration) {
        // A time is right whatever another thread did while it held the lock.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Instant, limit: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (at, limit);
    }
}

/// What is sent, in pieces, no faster than may be.
struct Sent {
    body: HttpRequestBody,
    chunk: Bytes,
    left_bytes: u64,
    rate: Arc<Rate>,
    alive: Alive,
    limit: Duration,
    /// Of the silence after the last piece.
    last_limit: Duration,
    /// The next piece, and the wait before it.
    next: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl Sent {
    fn new(body: HttpRequestBody, rate: Arc<Rate>, alive: Alive, limit: Duration) -> Self {
        let is_large = body.content_length() > LARGE_BODY_BYTES;
        Self {
            left_bytes: body.content_length() as u64,
            limit,
            last_limit: if is_large { limit * PATIENCE } else { limit },
            body,
            chunk: Bytes::new(),
            rate,
            alive,
            next: None,
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        let (_, wait) = match &mut this.next {
            Some(next) => next,
            None => {
                while this.chunk.is_empty() {
                    match ready!(Pin::new(&mut this.body).poll_frame(context)?) {
                        Some(frame) => this.chunk = frame.into_data().unwrap_or_default(),
                        None => return Poll::Ready(None),
                    }
                }
                let count = this.chunk.len().min(this.rate.piece_bytes());
                let piece = this.chunk.split_to(count);
                let now = Instant::now();
                let until = now + this.rate.take(count, now.into_std());
                let is_last = this.left_bytes == count as u64;
                let limit = if is_last { this.last_limit } else { this.limit };
                this.alive.set(until, limit);
                this.next.insert((piece, Box::pin(sleep_until(until))))
            }
        };
        if wait.deadline() > Instant::now() {
            ready!(wait.as_mut().poll(context));
        }
        let piece = this.next.take().map(|(piece, _)| piece).unwrap_or_default();
        this.left_bytes = this.left_bytes.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

/// What is received, unless it stops coming.
struct Received {
    body: reqwest::Body,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
    /// Whether the silence is that of the store, and not that of who reads here.
    is_waiting: bool,
}

impl Received {
    fn new(body: reqwest::Body, limit: Duration) -> Self {
        Self {
            body,
            limit,
            silence: Box::pin(sleep(limit)),
            is_waiting: false,
        }
    }

    /// All of it that is read.
    async fn told(mut self) -> Result<Bytes, HttpError> {
        let mut told = BytesMut::new();
        while told.len() < MOST_TOLD_BYTES
            && let Some(frame) = poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await
        {
            told.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok(told.freeze())
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.is_waiting = false;
            let frame = frame.map(|frame| frame.map_err(failed));
            if let Some(Err(error)) = &frame {
                lose(deepest(error));
            }
            return Poll::Ready(frame);
        }
        if !this.is_waiting {
            this.is_waiting = true;
            this.silence.as_mut().reset(Instant::now() + this.limit);
        }
        ready!(this.silence.as_mut().poll(context));
        let silent = Silent(this.limit);
        lose(silent.to_string());
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Unknown, silent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_in_the_body_of_a_success_is_one() {
        let batch = "--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 404 The specified blob does not exist.\r\n\
             x-ms-error-code: BlobNotFound\r\n\r\n<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code></Error>\r\n--b--";
        for (body, status) in [
            (batch, Some(StatusCode::NOT_FOUND)),
            (
                "<Error><Code>InternalError</Code></Error>",
                Some(StatusCode::INTERNAL_SERVER_ERROR),
            ),
            ("HTTP/1.1 x<Error>", Some(StatusCode::INTERNAL_SERVER_ERROR)),
            ("HTTP/1.1 202 Accepted", None),
            ("<CompleteMultipartUploadResult/>", None),
        ] {
            assert_eq!(hidden_status(body), status, "{body}");
        }
    }
}
