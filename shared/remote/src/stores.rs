//! The clients of the object stores, with the credentials that each provider's users have.
//!
//! Knows no operation.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::credentials::{aws_keys_of_file, private_text, usual_aws_keys, variables_of_file};
use crate::error::{Error, Kind, Result};
use crate::location::{Location, Service};
use crate::place::Options;
use crate::web::Web;

/// What every object store does.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) parts: Arc<dyn MultipartStore>,
}

/// S3, whose requests may take headers that the library has no field for.
pub(crate) struct S3 {
    builder: AmazonS3Builder,
    pub(crate) plain: AmazonS3,
}

/// Off: an attempt of the library repeats the old signature, and knows nothing of a stop.
fn no_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: Duration::ZERO,
    }
}

fn flawed(location: &Location, error: &object_store::Error) -> Error {
    Error::new(Kind::Other, location, crate::answer::deepest(error))
}

fn store<T: ObjectStore + MultipartStore>(client: T) -> Store {
    let client = Arc::new(client);
    Store {
        objects: client.clone(),
        parts: client,
    }
}

impl S3 {
    pub(crate) fn open(location: &Location, options: &Options, web: &Web) -> Result<Self> {
        let keys = match &options.credentials {
            Some(file) => Some(aws_keys_of_file(file)?),
            None => usual_aws_keys()?,
        };
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables("AWS_") {
            let Ok(key) = name.parse::<AmazonS3ConfigKey>() else {
                continue;
            };
            let is_secret = matches!(
                key,
                AmazonS3ConfigKey::AccessKeyId
                    | AmazonS3ConfigKey::SecretAccessKey
                    | AmazonS3ConfigKey::Token
            );
            // A key pair is taken whole from one source.
            if !(is_secret && keys.is_some()) {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(keys) = keys {
            builder = builder
                .with_access_key_id(keys.id)
                .with_secret_access_key(keys.secret);
            if let Some(token) = keys.token {
                builder = builder.with_token(token);
            }
        }
        if let Some(endpoint) = location.endpoint() {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = location.region() {
            builder = builder.with_region(region);
        }
        let builder = builder
            .with_bucket_name(location.bucket())
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(no_retries())
            .with_http_connector(web.clone());
        let plain = builder.clone().build();
        Ok(Self {
            builder,
            plain: plain.map_err(|error| flawed(location, &error))?,
        })
    }

    pub(crate) fn store(&self) -> Store {
        store(self.plain.clone())
    }

    /// The same, whose requests to write and to ask carry headers, which are signed too.
    pub(crate) fn with_headers(
        &self,
        location: &Location,
        headers: &[(&'static str, String)],
    ) -> Result<Store> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value);
            let value = value.map_err(|error| Error::new(Kind::Other, location, error))?;
            all.insert(HeaderName::from_static(name), value);
        }
        let builder = self.builder.clone();
        // The same provider, so that temporary credentials are fetched once.
        let builder = builder.with_credentials(self.plain.credentials().clone());
        let builder = builder.with_client_options(ClientOptions::new().with_default_headers(all));
        let built = builder.build().map_err(|error| flawed(location, &error))?;
        Ok(store(built))
    }
}

/// The variables of the environment that begin so, as the configuration keys have them.
fn variables(prefix: &str) -> Vec<(String, String)> {
    let text = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let meant = text.filter(|(name, _)| name.starts_with(prefix));
    meant
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect()
}

/// Of Google Cloud Storage and Azure.
pub(crate) fn open(location: &Location, options: &Options, web: &Web) -> Result<Store> {
    match location.service() {
        Service::Google => google(location, options, web),
        _ => azure(location, options, web),
    }
}

fn google(location: &Location, options: &Options, web: &Web) -> Result<Store> {
    let builder = match &options.credentials {
        Some(file) => {
            GoogleCloudStorageBuilder::new().with_service_account_key(private_text(file)?)
        }
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let builder = builder
        .with_bucket_name(location.bucket())
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    let built = builder.build().map_err(|error| flawed(location, &error))?;
    Ok(store(built))
}

fn azure(location: &Location, options: &Options, web: &Web) -> Result<Store> {
    let mut builder = MicrosoftAzureBuilder::from_env();
    if let Some(file) = &options.credentials {
        builder = MicrosoftAzureBuilder::new();
        for (name, value) in variables_of_file(file)? {
            let Ok(key) = name.to_lowercase().parse::<AzureConfigKey>() else {
                let place = format!("the credentials file '{}'", file.display());
                // Its text may be a key that somebody put there by itself.
                let why = "it has a line that sets no variable of Azure, such as AZURE_STORAGE_ACCOUNT_KEY";
                return Err(Error::new(Kind::Refused, place, why));
            };
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder
        .with_container_name(location.bucket())
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    let built = builder.build().map_err(|error| flawed(location, &error))?;
    Ok(store(built))
}
