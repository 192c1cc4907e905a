//! What is read of an X.509 certificate beyond its signatures (RFC 5280 section 4.1): the names of its
//! holder, and when it is valid.
//!
//! ```text
//! SEQ { SEQ { [0] version?, serial, algorithm, issuer, SEQ { notBefore, notAfter }, subject, key,
//!             [1]? [2]? [3] { SEQ { SEQ { oid, critical?, OCTETS { value } } … } }? }, algorithm, signature }
//! ```
//!
//! A chain is verified elsewhere, before anybody asks for a name.

use std::fmt;

use time::{Date, Month, PrimitiveDateTime, Time};

/// Most names of one certificate that count; further ones stand for nobody.
pub const NAMES_MAX: usize = 16;
/// Longest name that counts: no client id is longer.
const NAME_BYTES_MAX: usize = 255;

/// Who the holder of a verified certificate may be: the DNS names, URIs and mail addresses of its
/// `subjectAltName`, or, where it has none of these, the common names of its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames(Box<[Box<str>]>);

/// What the certificate of a connection says about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certified {
    /// The listener asks for no certificate.
    NotAsked,
    Yes,
    /// The certificate is another's.
    No,
}

/// Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// The bytes are no X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACertificate;

impl fmt::Display for NotACertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an X.509 certificate")
    }
}

impl std::error::Error for NotACertificate {}

impl CertificateNames {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Result<CertificateNames, NotACertificate> {
        let parts = Parts::of(der)?;
        let mut names = parts.alternative_names()?;
        if names.is_empty() {
            names = parts.common_names()?;
        }
        names.truncate(NAMES_MAX);
        Ok(CertificateNames(names.into_boxed_slice()))
    }

    /// Letter by letter: an id is no host name.
    pub fn include(&self, id: &str) -> bool {
        self.0.iter().any(|name| **name == *id)
    }
}

impl Validity {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Result<Validity, NotACertificate> {
        let mut validity = Der(Parts::of(der)?.validity);
        Ok(Validity { not_before: validity.time()?, not_after: validity.time()? })
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0C, 0x13, 0x16];
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
/// Of a GeneralName: rfc822Name, dNSName, uniformResourceIdentifier.
const NAME_KINDS: [u8; 3] = [0x81, 0x82, 0x86];

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The contents of the fields that are looked at.
struct Parts<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    extensions: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(der: &'a [u8]) -> Result<Parts<'a>, NotACertificate> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        fields.take_if(VERSION)?;
        let (_serial, _algorithm, _issuer) = (fields.any()?, fields.any()?, fields.any()?);
        let validity = fields.expect(SEQUENCE)?;
        let subject = fields.expect(SEQUENCE)?;
        let mut extensions = None;
        while !fields.0.is_empty() {
            match fields.any()? {
                (EXTENSIONS, value) => extensions = Some(Der(value).expect(SEQUENCE)?),
                _ => continue,
            }
        }
        Ok(Parts { validity, subject, extensions })
    }

    fn alternative_names(&self) -> Result<Vec<Box<str>>, NotACertificate> {
        let mut names = Vec::new();
        let mut extensions = Der(self.extensions.unwrap_or_default());
        while !extensions.0.is_empty() {
            let mut extension = Der(extensions.expect(SEQUENCE)?);
            let oid = extension.expect(OID)?;
            extension.take_if(BOOLEAN)?;
            let value = extension.expect(OCTET_STRING)?;
            if oid != SUBJECT_ALT_NAME {
                continue;
            }
            let mut general = Der(Der(value).expect(SEQUENCE)?);
            while !general.0.is_empty() {
                let (kind, name) = general.any()?;
                if NAME_KINDS.contains(&kind) {
                    names.extend(name_of(name));
                }
            }
        }
        Ok(names)
    }

    fn common_names(&self) -> Result<Vec<Box<str>>, NotACertificate> {
        let mut names = Vec::new();
        let mut subject = Der(self.subject);
        while !subject.0.is_empty() {
            let mut set = Der(subject.expect(SET)?);
            while !set.0.is_empty() {
                let mut attribute = Der(set.expect(SEQUENCE)?);
                let oid = attribute.expect(OID)?;
                let (kind, value) = attribute.any()?;
                if oid == COMMON_NAME && TEXTS.contains(&kind) {
                    names.extend(name_of(value));
                }
            }
        }
        Ok(names)
    }
}

fn name_of(bytes: &[u8]) -> Option<Box<str>> {
    let fits = (1..=NAME_BYTES_MAX).contains(&bytes.len());
    std::str::from_utf8(bytes).ok().filter(|_| fits).map(Box::from)
}

/// Tag, length, value, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn any(&mut self) -> Result<(u8, &'a [u8]), NotACertificate> {
        let (&[tag, first], rest) = self.0.split_first_chunk().ok_or(NotACertificate)?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            // 0x80 would be the indefinite form; a certificate of over 16 MiB is none.
            0x81..=0x83 => {
                let (digits, rest) =
                    rest.split_at_checked(usize::from(first & 0x7F)).ok_or(NotACertificate)?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return Err(NotACertificate),
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(NotACertificate)?;
        self.0 = rest;
        Ok((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Result<&'a [u8], NotACertificate> {
        let (found, value) = self.any()?;
        (found == tag).then_some(value).ok_or(NotACertificate)
    }

    fn take_if(&mut self, tag: u8) -> Result<(), NotACertificate> {
        if self.0.first() == Some(&tag) {
            self.any()?;
        }
        Ok(())
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
    fn time(&mut self) -> Result<i64, NotACertificate> {
        let (tag, text) = self.any()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = number(text, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => number(text, 4)?,
            _ => return Err(NotACertificate),
        };
        let mut rest = rest;
        let mut two = || -> Result<u8, NotACertificate> {
            let (found, behind) = number(rest, 2)?;
            rest = behind;
            Ok(found as u8)
        };
        let (month, day, hour, minute, second) = (two()?, two()?, two()?, two()?, two()?);
        if rest != b"Z" {
            return Err(NotACertificate);
        }
        let month = Month::try_from(month).map_err(|_| NotACertificate)?;
        let date = Date::from_calendar_date(year, month, day).map_err(|_| NotACertificate)?;
        let time = Time::from_hms(hour, minute, second).map_err(|_| NotACertificate)?;
        Ok(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
    }
}

/// A number of so many digits, and what follows it.
fn number(text: &[u8], digits: usize) -> Result<(i32, &[u8]), NotACertificate> {
    let (number, rest) = text.split_at_checked(digits).ok_or(NotACertificate)?;
    if !number.iter().all(u8::is_ascii_digit) {
        return Err(NotACertificate);
    }
    Ok((number.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')), rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(common_names: &[&str], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "an organization");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(1985, 7, 9);
        params.not_after = date_time_ymd(2500, 2, 28);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn names(der: &[u8]) -> Vec<String> {
        CertificateNames::of(der).expect("a certificate").0.iter().map(|name| name.to_string()).collect()
    }

    fn ia5(text: &str) -> rcgen::string::Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn the_alternative_names_come_before_the_common_name() {
        let all = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName(ia5("agent-1.example.org")),
            SanType::URI(ia5("spiffe://example.org/agent-1")),
            SanType::Rfc822Name(ia5("agent-1@example.org")),
        ];
        assert_eq!(
            names(&certificate(&["agent-1"], all)),
            ["agent-1.example.org", "spiffe://example.org/agent-1", "agent-1@example.org"]
        );
        assert_eq!(names(&certificate(&["agent-1"], Vec::new())), ["agent-1"]);
        let address_alone = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        assert_eq!(names(&certificate(&["Bordgerät-ä"], address_alone)), ["Bordgerät-ä"]);
        assert_eq!(names(&certificate(&[], Vec::new())), [""; 0]);
    }

    #[test]
    fn a_name_is_compared_letter_by_letter() {
        let der = certificate(&[], vec![SanType::DnsName(ia5("*.example.org")), SanType::DnsName(ia5("b"))]);
        let names = CertificateNames::of(&der).expect("a certificate");
        assert!(names.include("b") && names.include("*.example.org"));
        for other in ["", "B", "b.", "a.example.org", "*.EXAMPLE.org"] {
            assert!(!names.include(other), "{other}");
        }
        assert!(!CertificateNames::default().include(""));
    }

    #[test]
    fn names_beyond_the_most_and_names_that_are_too_long_stand_for_nobody() {
        let many = (0..NAMES_MAX + 4).map(|n| SanType::DnsName(ia5(&format!("n{n}")))).collect();
        let found = names(&certificate(&[], many));
        assert_eq!((found.len(), found.last().map(String::as_str)), (NAMES_MAX, Some("n15")));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(names(&certificate(&[], vec![SanType::DnsName(ia5(&long))])), [""; 0]);
        assert_eq!(names(&certificate(&[], vec![SanType::DnsName(ia5(&long[1..]))])), [&long[1..]]);
    }

    /// 1985 is written with two digits of the year, 2500 with four.
    #[test]
    fn both_ends_of_the_validity_are_read() {
        let validity = Validity::of(&certificate(&[], Vec::new())).expect("a certificate");
        assert_eq!((validity.not_before, validity.not_after), (489_715_200, 16_730_236_800));
    }

    #[test]
    fn whatever_the_bytes_are_nothing_breaks() {
        let der = certificate(&["agent-1"], vec![SanType::DnsName(ia5("agent-1.example.org"))]);
        for length in 0..der.len() {
            assert_eq!(CertificateNames::of(&der[..length]), Err(NotACertificate), "{length} bytes");
        }
        let mut changed = der.clone();
        for at in 0..der.len() {
            for change in [1, 0x7F, 0x80, 0xFF] {
                changed[at] = der[at] ^ change;
                let _ = (CertificateNames::of(&changed), Validity::of(&changed));
            }
            changed[at] = der[at];
        }
    }

    #[test]
    fn who_is_not_named_is_refused_whatever_the_method() {
        use crate::auth::{ApiKey, Authenticator, Credentials, Refused};
        let keys = vec![ApiKey::parse("agent:token").expect("a pair")];
        for credentials in [Credentials::Token(keys.clone()), Credentials::Certificate, Credentials::None] {
            let verdict = Authenticator::new(&credentials).verify("agent", "token", Certified::No, 0);
            assert_eq!(verdict, Err(Refused::WrongCertificate), "{credentials:?}");
        }
        let by_certificate = Authenticator::new(&Credentials::Certificate);
        assert_eq!(by_certificate.verify("agent", "", Certified::Yes, 0), Ok(()));
        let without = by_certificate.verify("agent", "token", Certified::NotAsked, 0);
        assert_eq!(without, Err(Refused::WrongCertificate));
        // A certificate alone is no token where tokens are the method.
        let by_token = Authenticator::new(&Credentials::Token(keys));
        assert_eq!(by_token.verify("agent", "", Certified::Yes, 0), Err(Refused::BadCredentials));
        assert_eq!(by_token.verify("agent", "token", Certified::Yes, 0), Ok(()));
    }
}
