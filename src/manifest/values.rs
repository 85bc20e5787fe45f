//! Values that are checked once, when the manifest is read.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

/// Registries nobody can push to by naming them here: without an upstream, that was forgotten.
pub(crate) const PUBLIC: [&str; 7] =
    ["docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "public.ecr.aws", "quay.io", "registry.k8s.io"];

/// Why a value was refused, in words that say what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidValue {
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// A cluster's name: a DNS label of at most 40 characters.
///
/// Kubernetes limits labels to 63 characters; 40 leave room for `ksail-` and a mirror's slug.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

/// The registry part of image references: `docker.io`, `ghcr.io`, `localhost:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// Root of an upstream registry: `scheme://host[:port]`, no path, no trailing slash
/// (the registry's `proxy.remoteurl` takes nothing else).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream {
    text: String,
    /// The text in the manifest, where that refers to variables: what they hold is never shown.
    written: Option<String>,
}

macro_rules! text_value {
    ($($name:ident)*) => {$(
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_value!(ClusterName Host);

impl InvalidValue {
    /// What an upstream with an `@` in it is refused with; nothing of it is repeated.
    pub(crate) fn user_info_in_upstream() -> Self {
        Self::hint("an upstream carries no user name or password", "put them into 'credentials', as ${VARIABLES}")
    }

    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }

    fn hint(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: Some(hint.into()) }
    }
}

impl ClusterName {
    /// Longest name.
    pub const MAX: usize = 40;

    /// The name nearest to a text such as a directory's name, or `dev` when nothing of it can stay.
    pub fn nearest(text: &str) -> Self {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut name = words.collect::<Vec<_>>().join("-");
        name.truncate(Self::MAX);
        let name = name.trim_end_matches('-');
        Self(if name.is_empty() { "dev" } else { name }.to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let nearest = || format!("write '{}'", Self::nearest(text));
        if text.is_empty() {
            return Err(InvalidValue::hint("the name is empty", nearest()));
        }
        if text.len() > Self::MAX {
            let problem = format!("the name has {} characters and may have {}", text.chars().count(), Self::MAX);
            return Err(InvalidValue::hint(problem, nearest()));
        }
        if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            let problem = format!("{} is not allowed in a name (a-z, 0-9 and - are)", quoted(bad));
            return Err(InvalidValue::hint(problem, nearest()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(InvalidValue::hint("a name starts and ends with a letter or a digit", nearest()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Host {
    /// The port in it.
    pub fn port(&self) -> Option<u16> {
        self.0.split_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// It without its port.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(name, _)| name)
    }
}

/// The host becomes a directory on every node, so it is checked to the last character and never mended.
impl FromStr for Host {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() {
            return Err(InvalidValue::hint(
                "the host is empty",
                "write what image references start with, such as docker.io",
            ));
        }
        // Before anything else is said of the text, which may be a password.
        if text.contains('@') {
            return Err(InvalidValue::hint(
                "a host has no user, password or digest",
                "write what image references start with, such as docker.io",
            ));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return Err(InvalidValue::hint("a host has no scheme", format!("write '{host}'")));
        }
        if text.contains('*') {
            return Err(InvalidValue::hint(
                "a host cannot be a pattern",
                "containerd knows no wildcards: add one mirror per host",
            ));
        }
        if let Some((host, _)) = text.split_once('/') {
            return Err(InvalidValue::hint("a host has no path", format!("write '{host}'")));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        if let Some(port) = port {
            check_port(port)?;
        }
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(InvalidValue::hint(
                "a host is written in lower case",
                format!("write '{}'", text.to_ascii_lowercase()),
            ));
        }
        if let Some(bad) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
            let problem = format!("{} is not allowed in a host", quoted(bad));
            return Err(InvalidValue::hint(problem, "write HOST or HOST:PORT, such as docker.io or localhost:5000"));
        }
        check_dns_name(name)?;
        if port.is_none() && name != "localhost" && !name.contains('.') {
            let problem = format!("image references take '{name}' for a folder of docker.io, not for a host");
            return Err(InvalidValue::hint(
                problem,
                "write a host with a dot or a port, such as registry.example.com or localhost:5000",
            ));
        }
        if name == "index.docker.io" {
            return Err(InvalidValue::hint("images of Docker Hub are pulled from docker.io", "write 'docker.io'"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Upstream {
    /// What a host's own registry is: `https://HOST`, and for Docker Hub the one name that differs.
    pub fn well_known(host: &Host) -> Self {
        Self::plain(match host.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host => format!("https://{host}"),
        })
    }

    fn plain(text: String) -> Self {
        Self { text, written: None }
    }

    /// The same upstream, shown as `written`: with `${VAR}` where variables were filled in.
    #[must_use]
    pub fn shown_as(self, written: &str) -> Self {
        let written = (written != self.text).then(|| written.to_owned());
        Self { written, ..self }
    }

    /// The whole address. What is shown to anybody is the `Display` form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether some of it came from variables, so that it must not show in `inspect`, labels or output.
    pub fn is_secret(&self) -> bool {
        self.written.is_some()
    }

    /// Its port, written or the scheme's own.
    pub fn port(&self) -> u16 {
        let (scheme, authority) = self.text.split_once("://").unwrap_or(("https", &self.text));
        let written = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(if scheme == "http" { 80 } else { 443 })
    }

    /// Its host, without port and without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let authority = self.text.split_once("://").map_or(self.text.as_str(), |(_, authority)| authority);
        match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => authority.split(':').next().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written.as_ref().unwrap_or(&self.text))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({self})")
    }
}

impl FromStr for Upstream {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const FORM: &str = "write scheme://host[:port], such as https://registry-1.docker.io";
        if text.is_empty() {
            return Err(InvalidValue::hint("the upstream is empty", FORM));
        }
        // Before anything else is said of the text, which may be a password.
        if text.contains('@') {
            return Err(InvalidValue::user_info_in_upstream());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(InvalidValue::hint("the upstream has no scheme", format!("write 'https://{}'", root_of(text))));
        };
        if !matches!(scheme, "http" | "https") {
            let problem = format!("'{scheme}' is not a scheme a registry is reached by");
            return Err(InvalidValue::hint(problem, format!("write 'https://{}'", root_of(rest))));
        }
        if rest.ends_with('/') && rest.matches('/').count() == 1 {
            return Err(InvalidValue::hint(
                "an upstream ends without a slash",
                format!("write '{scheme}://{}'", root_of(rest)),
            ));
        }
        if let Some(at) = rest.find(['/', '?', '#']) {
            let part = if rest.as_bytes()[at] == b'/' { "path" } else { "query" };
            let problem = format!("an upstream is the root of a registry and has no {part}");
            let root = root_of(rest);
            let hint = match part {
                "path" => format!("write '{scheme}://{root}': what follows is a part of the names of its images"),
                _ => format!("write '{scheme}://{root}'"),
            };
            return Err(InvalidValue::hint(problem, hint));
        }
        check_authority(rest).map_err(|error| InvalidValue { hint: error.hint.or(Some(FORM.to_owned())), ..error })?;
        Ok(Self::plain(text.to_owned()))
    }
}

fn root_of(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn check_authority(authority: &str) -> Result<(), InvalidValue> {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return Err(InvalidValue::new("the IPv6 address has no closing ']'"));
        };
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(InvalidValue::new(format!("'{address}' is not an IPv6 address")));
        }
        return match rest.strip_prefix(':') {
            Some(port) => check_port(port),
            None if rest.is_empty() => Ok(()),
            None => Err(InvalidValue::new(format!("'{rest}' after the address is not a port"))),
        };
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    };
    if let Some(port) = port {
        check_port(port)?;
    }
    if let Some(bad) = name.chars().find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_')) {
        return Err(InvalidValue::new(format!("{} is not allowed in an upstream", quoted(bad))));
    }
    check_dns_name(name)
}

fn check_port(port: &str) -> Result<(), InvalidValue> {
    if port.is_empty() {
        return Err(InvalidValue::new("the port after ':' is missing"));
    }
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    match port.parse::<u16>() {
        Ok(_) if digits => Ok(()),
        _ => Err(InvalidValue::hint(format!("'{port}' is not a port"), "ports are 1 to 65535")),
    }
}

fn check_dns_name(name: &str) -> Result<(), InvalidValue> {
    if name.is_empty() {
        return Err(InvalidValue::new("the host name is missing"));
    }
    if name.len() > 253 {
        return Err(InvalidValue::new(format!("a host name has at most 253 characters, this one has {}", name.len())));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(InvalidValue::new("a host name has a letter or digit on both sides of every dot"));
        }
        if label.len() > 63 {
            return Err(InvalidValue::new("between two dots of a host name are at most 63 characters"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidValue::new(format!("'{label}' starts or ends with '-', which no host name does")));
        }
    }
    Ok(())
}

/// A character as a message shows it: control and invisible ones by their number.
fn quoted(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        c if c.is_control() || c.is_whitespace() => format!("the character U+{:04X}", u32::from(c)),
        c => format!("'{c}'"),
    }
}

/// What [`parse_duration`] takes, as the published schema says it.
pub(crate) const DURATION: &str = "^([0-9]+(h|m|s)|([0-9]*000|0+)ms)+$";

/// Reads a duration as Go writes it, in whole numbers and whole seconds: `0s`, `5m`, `1h30m`, `168h`.
///
/// Less than a second cannot be handed on: what is left of it after rounding, nothing, means for ever to the registry
/// and not to wait at all to kind.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidValue> {
    const FORM: &str = "write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h";
    let not = || InvalidValue::hint(format!("'{text}' is not a duration"), FORM);
    let too_long = || InvalidValue::hint(format!("'{text}' is too long"), "the longest is 2562047h (292 years)");
    if text.starts_with('-') {
        return Err(InvalidValue::hint(format!("'{text}' is negative"), FORM));
    }
    if text.is_empty() {
        return Err(InvalidValue::hint("the duration is empty", FORM));
    }
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(not)?;
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(not());
        }
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let number: u64 = number.parse().map_err(|_| too_long())?;
        let (number, factor) = match unit {
            "h" => (number, 3_600),
            "m" => (number, 60),
            "s" => (number, 1),
            "ms" if number.is_multiple_of(1_000) => (number / 1_000, 1),
            "ms" => {
                let problem = format!("'{number}ms' is not a whole number of seconds");
                return Err(InvalidValue::hint(problem, format!("write '{}s'", number / 1_000 + 1)));
            }
            "d" => {
                let hint = format!("write '{}h'", number.saturating_mul(24));
                return Err(InvalidValue::hint("a duration has no unit for days", hint));
            }
            _ => return Err(not()),
        };
        seconds = number.checked_mul(factor).and_then(|part| seconds.checked_add(part)).ok_or_else(too_long)?;
        rest = tail;
    }
    // Go's time.Duration counts nanoseconds in an i64, and the registry reads this value with it.
    if seconds > 9_223_372_036 {
        return Err(too_long());
    }
    Ok(Duration::from_secs(seconds))
}

/// Whether a text can name an image: `[HOST/]NAME[:TAG][@DIGEST]`.
pub(crate) fn check_image(text: &str) -> Result<(), InvalidValue> {
    const FORM: &str = "write [HOST/]NAME[:TAG][@sha256:DIGEST], such as registry:3";
    let fail = |problem: String| Err(InvalidValue::hint(problem, FORM));
    if text.is_empty() {
        return fail("the image is empty".to_owned());
    }
    if text.contains("://") {
        return fail("an image has no scheme".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return fail(format!("{} is not allowed in an image", quoted(bad)));
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return fail(format!("'{digest}' is not a digest (sha256: and 64 hexadecimal digits)"));
        }
    }
    let name_start = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[name_start..].split_once(':') {
        Some((name, tag)) => (&named[..name_start + name.len()], Some(tag)),
        None => (named, None),
    };
    if let Some(tag) = tag {
        let body = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if tag.is_empty() || tag.len() > 128 || !body || tag.starts_with(['.', '-']) {
            return fail(format!("'{tag}' is not a tag"));
        }
    }
    let mut parts = name.split('/').enumerate();
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let bad = parts.find(|(index, part)| {
        let host = *index == 0 && name.contains('/') && is_host(part);
        !host && (part.is_empty() || !part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')))
    });
    match bad {
        Some((_, part)) if part.bytes().any(|b| b.is_ascii_uppercase()) => {
            fail(format!("'{part}' is not in lower case, as image names are"))
        }
        Some((_, part)) => fail(format!("'{part}' is not a part of an image's name")),
        None => Ok(()),
    }
}
