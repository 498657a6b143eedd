//! Requests to S3 that the library has no call for: one version removed, the locks of a bucket.
//!
//! Each is signed in its URL, which is good for a quarter of an hour and told to nobody. Knows no
//! retries.

use std::time::Duration;

use http::Method;
use object_store::aws::AmazonS3;
use object_store::client::HttpRequestBody;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};

use crate::answer;
use crate::web::Web;

const STORE: &str = "S3";
const GOOD_FOR: Duration = Duration::from_secs(15 * 60);

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: STORE,
        source: error.into(),
    }
}

/// Sends a request, and gives the text that S3 answers.
pub(crate) async fn send(
    s3: &AmazonS3,
    web: &Web,
    method: Method,
    path: &Path,
    query: &[(&str, &str)],
) -> object_store::Result<String> {
    let options = SignedUrlOptions::default().with_query(query.iter().copied());
    let url = s3
        .signed_url_opts(method.clone(), path, GOOD_FOR, &options)
        .await?;
    let request = http::Request::builder().method(method).uri(url.as_str());
    let request = request.body(HttpRequestBody::empty()).map_err(failed)?;
    let response = web.client().execute(request).await.map_err(failed)?;
    let status = response.status();
    let body = response.into_body().bytes().await.map_err(|error| {
        answer::lose(answer::deepest(&error));
        failed(error)
    })?;
    match status.is_success() {
        true => Ok(String::from_utf8_lossy(&body).into_owned()),
        false => Err(failed(status.to_string())),
    }
}

/// Whether a bucket's configuration says that it has object locks.
pub(crate) fn has_locks(configuration: &str) -> bool {
    configuration.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>")
}
