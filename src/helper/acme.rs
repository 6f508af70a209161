//! An order of a certificate by ACME (RFC 8555): the account, the challenges one way or the other, a key of its own, the
//! chain. And when a certificate should be renewed (RFC 9773).

use super::Master;
use super::client::{Client, retry_after};
use super::words::{Failure, of_problem, short};
use crate::control::digits::unbase64;
use crate::control::helper::{self, Answer, Directory, Issue, Order as FromMaster, Way};
use crate::secret::{Hidden, Secret};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use serde::Deserialize;
use std::time::Duration;

/// So long an authority may look at one way, and sign.
const PATIENCE: Duration = Duration::from_secs(75);
/// An authority that asks for more than this is not served.
const MOST_CHALLENGES: usize = 200;

fn patience() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(PATIENCE)
}

/// Gets a certificate.
pub(super) async fn issue(order: &Issue, master: &mut Master) -> Result<Answer, Failure> {
    let client = Client::new(&order.directory)?;
    let issued = issue_with(&client, order, master).await;
    issued.map_err(|failure| Failure { again: failure.again.or(client.again()), ..failure })
}

async fn issue_with(client: &Client, order: &Issue, master: &mut Master) -> Result<Answer, Failure> {
    let mut account = account(client, order, order.account.as_ref(), master).await?;
    let mut failed: Vec<Failure> = Vec::new();
    for way in &order.ways {
        let mut begun = begin(&account, order).await;
        if order.account.is_some() && matches!(&begun, Err(error) if is_of(error, "accountDoesNotExist")) {
            let note = "the authority does not know the account any more: a new one is made";
            tell(master, &Answer::Note(note.to_owned()))?;
            account = self::account(client, order, None, master).await?;
            begun = begin(&account, order).await;
        }
        let begun = begun.map_err(|error| Failure::of("the authority does not take the order", &error))?;
        match validate(begun, *way, master).await {
            Ok(ready) => return finish(ready, order).await,
            Err(failure) => failed.push(failure),
        }
    }
    let reasons: Vec<&str> = failed.iter().map(|failure| failure.reason.as_str()).collect();
    let reason = if reasons.is_empty() {
        "there is no way to show that the names are ours".to_owned()
    } else {
        reasons.join("; and ")
    };
    Err(Failure { reason, again: failed.iter().filter_map(|failure| failure.again).max() })
}

/// The account that there is, or a new one, of which the master is told.
async fn account(
    client: &Client,
    order: &Issue,
    known: Option<&helper::Account>,
    master: &mut Master,
) -> Result<Account, Failure> {
    let refused = |error: Error| Failure::of("no account can be had at the authority", &error);
    let builder = Account::builder_with_http(Box::new(client.clone()));
    if let Some(account) = known {
        let json = serde_json::json!({
            "id": account.id,
            "key_pkcs8": account.key.0,
            "directory": order.directory.url,
        });
        let credentials: AccountCredentials = serde_json::from_value(json)
            .map_err(|_| Failure::new("the account that was kept is not understood: remove its file"))?;
        let opened = builder.from_credentials(credentials).await;
        return opened.map_err(|error| Failure::of("the authority's directory cannot be read", &error));
    }
    let contact: Vec<String> = order.email.iter().map(|email| format!("mailto:{email}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let binding = order.binding.as_ref().map(binding).transpose()?;
    let made = builder.create(&new, order.directory.url.clone(), binding.as_ref()).await;
    let (account, credentials) = made.map_err(refused)?;
    let key = serde_json::to_value(&credentials).ok();
    let key = key.as_ref().and_then(|all| all.get("key_pkcs8")?.as_str().map(str::to_owned));
    let kept = helper::Account { id: account.id().to_owned(), key: Hidden(key.unwrap_or_default()) };
    tell(master, &Answer::Account(kept))?;
    Ok(account)
}

fn binding(binding: &helper::Binding) -> Result<ExternalAccountKey, Failure> {
    let key = unbase64(&binding.key.0).map(Secret).ok_or_else(|| {
        Failure::new("the key of `eab` is no base64url; give it exactly as the authority shows it")
    })?;
    Ok(ExternalAccountKey::new(binding.key_id.clone(), &key.0))
}

fn is_of(error: &Error, kind: &str) -> bool {
    let Error::Api(Problem { r#type: Some(theirs), .. }) = error else { return false };
    theirs.strip_prefix("urn:ietf:params:acme:error:") == Some(kind)
}

/// The order at the authority.
async fn begin(account: &Account, order: &Issue) -> Result<Order, Error> {
    let names: Vec<Identifier> = order.names.iter().cloned().map(Identifier::Dns).collect();
    let replaced = order.replaces.as_deref().and_then(|text| text.split_once('.'));
    if let Some((issuer, serial)) = replaced {
        let replaced = instant_acme::CertificateIdentifier {
            authority_key_identifier: issuer.into(),
            serial: serial.into(),
        };
        let begun = account.new_order(&NewOrder::new(&names).replaces(replaced)).await;
        // Another order has replaced it, or the authority does not know it, or knows nothing of this: then it replaces none.
        if begun.is_ok() || matches!(&begun, Err(error) if is_of(error, "rateLimited")) {
            return begun;
        }
    }
    account.new_order(&NewOrder::new(&names)).await
}

/// Shows that all names are ours.
async fn validate(mut order: Order, way: Way, master: &mut Master) -> Result<Order, Failure> {
    let asked = |error: Error| Failure::of("the authority does not say what it wants to see", &error);
    let mut placed = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(asked)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else {
            return Err(Failure::new("the authority asks for something else than a name"));
        };
        let Some(challenge) = authorization.challenge(of(way)) else {
            return Err(Failure::new(format!("the authority does not offer {} for {name}", title(way))));
        };
        placed.push(place(way, name.to_ascii_lowercase(), &challenge.token, &challenge.key_authorization())?);
        if placed.len() > MOST_CHALLENGES {
            return Err(Failure::new("the authority asks for challenges without end"));
        }
    }
    if !placed.is_empty() {
        tell(master, &Answer::Place(placed))?;
        match master.hear() {
            Ok(Some(FromMaster::Placed)) => {}
            other => return Err(Failure::new(format!("the workers do not answer challenges: {other:?}"))),
        }
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(asked)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(of(way))
        {
            let name = challenge.identifier().to_string();
            let told = challenge.set_ready().await;
            told.map_err(|error| match &error {
                // It has looked already.
                Error::Api(problem) => Failure::new(seen(&name, way, problem)),
                error => Failure::of(&format!("{name}, {}", title(way)), error),
            })?;
        }
    }
    match order.poll_ready(&patience()).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(order),
        Ok(_) | Err(Error::Api(_)) => Err(why(&mut order, way).await),
        Err(error) => Err(Failure::of(&format!("waiting for the authority's look ({})", title(way)), &error)),
    }
}

/// Why an order has become invalid: what the authority has against each challenge.
async fn why(order: &mut Order, way: Way) -> Failure {
    let mut reasons = Vec::new();
    if let Some(problem) = &order.state().error {
        reasons.push(of_problem(problem, None));
    }
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        found.extend(errors.map(|error| seen(&name, way, error)));
    }
    if !found.is_empty() {
        reasons = found;
    }
    if reasons.is_empty() {
        reasons.push(format!("the authority does not say why it gives nothing ({})", title(way)));
    }
    Failure::new(reasons.join("; "))
}

fn seen(name: &str, way: Way, problem: &Problem) -> String {
    format!("{name}, {}: {}", title(way), of_problem(problem, Some((name, way))))
}

fn of(way: Way) -> ChallengeType {
    match way {
        Way::Http => ChallengeType::Http01,
        Way::Alpn => ChallengeType::TlsAlpn01,
    }
}

fn title(way: Way) -> &'static str {
    match way {
        Way::Http => "HTTP-01",
        Way::Alpn => "TLS-ALPN-01",
    }
}

/// What the workers are to answer.
fn place(
    way: Way,
    name: String,
    token: &str,
    authorization: &instant_acme::KeyAuthorization,
) -> Result<helper::Challenge, Failure> {
    if way == Way::Http {
        let (token, authorization) = (token.to_owned(), authorization.as_str().to_owned());
        return Ok(helper::Challenge::Http { name, token, authorization });
    }
    let made = || -> Result<(Vec<u8>, KeyPair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut certificate = CertificateParams::new(vec![name.clone()])?;
        certificate.distinguished_name = DistinguishedName::new();
        certificate.custom_extensions =
            vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
        Ok((certificate.self_signed(&key)?.der().to_vec(), key))
    };
    let (certificate, key) =
        made().map_err(|error| Failure::new(format!("a challenge for {name}: {error}")))?;
    Ok(helper::Challenge::Alpn { name, certificate, key: Secret(key.serialize_der()) })
}

/// The certificate of an order that is ready, for a key that nobody else has.
async fn finish(mut order: Order, wanted: &Issue) -> Result<Answer, Failure> {
    let made = || -> Result<(KeyPair, rcgen::CertificateSigningRequest), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new(wanted.names.clone())?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key)?;
        Ok((key, request))
    };
    let (key, request) =
        made().map_err(|error| Failure::new(format!("the request for a certificate: {error}")))?;
    let refused = |error: Error| Failure::of("the authority does not sign", &error);
    order.finalize_csr(request.der()).await.map_err(refused)?;
    let chain = order.poll_certificate(&patience()).await.map_err(refused)?;
    Ok(Answer::Issued { chain, key: Secret(key.serialize_der()) })
}

/// When a certificate should be renewed.
pub(super) async fn look(directory: &Directory, certificate: &str) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Addresses {
        renewal_info: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        suggested_window: Window,
        #[serde(rename = "explanationURL")]
        explanation: Option<String>,
    }
    #[derive(Deserialize)]
    struct Window {
        start: String,
        end: String,
    }
    let client = Client::new(directory)?;
    let failed = |error: Error| Failure {
        again: client.again(),
        ..Failure::of("when to renew the certificate cannot be asked", &error)
    };
    let found = client.get(&directory.url).await.map_err(failed)?;
    let found: Addresses = serde_json::from_slice(found.body()).map_err(|error| failed(error.into()))?;
    let Some(address) = found.renewal_info else { return Ok(Answer::NoWindow) };
    let info =
        client.get(&format!("{}/{certificate}", address.trim_end_matches('/'))).await.map_err(failed)?;
    if info.status() == http::StatusCode::NOT_FOUND {
        return Ok(Answer::NoWindow);
    }
    let again = retry_after(info.headers());
    let Info { suggested_window, explanation } =
        serde_json::from_slice(info.body()).map_err(|error| failed(error.into()))?;
    let seconds = |text: &str| {
        let at = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
        at.map_err(|_| Failure::new(format!("the authority says \"{text}\" where a time belongs")))
    };
    let (start, end) = (seconds(&suggested_window.start)?, seconds(&suggested_window.end)?);
    Ok(Answer::Window { start, end, again, explanation: explanation.as_deref().map(short) })
}

fn tell(master: &mut Master, answer: &Answer) -> Result<(), Failure> {
    master.tell(answer).map_err(|error| Failure::new(format!("the master cannot be told: {error}")))
}
