//! Which peers a `discover` is for.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use serde_json::{Number, Value};

use super::PeerView;

/// Most tags and operands that one filter may have: each peer of a room is held against all of them.
pub const FILTER_TERMS_MAX: usize = 256;

/// Everything in it must hold. The default lets every peer through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    role: Option<String>,
    /// Empty: any peer. Else those that have one of them.
    tags: HashSet<String>,
    properties: Vec<(String, Vec<Comparison>)>,
}

/// What a property must be. Numbers compare with numbers by their exact value, strings with strings
/// by code point. Whatever else meets, matches in none of these, [`Comparison::NotEqual`] included.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    Equal(Value),
    NotEqual(Value),
    Greater(Value),
    GreaterOrEqual(Value),
    Less(Value),
    LessOrEqual(Value),
    /// Equal to one of them.
    OneOf(Vec<Value>),
}

/// More than [`FILTER_TERMS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterTooLarge;

impl Filter {
    /// `role`: exactly this one. `tags`: any of them; none of them means any peer.
    /// `properties`: names with comparisons that must all hold; a missing property fails.
    pub fn new(
        role: Option<String>,
        tags: Vec<String>,
        properties: Vec<(String, Vec<Comparison>)>,
    ) -> Result<Filter, FilterTooLarge> {
        let operands: usize = properties.iter().map(|(_, all)| 1 + operands(all)).sum();
        if tags.len() + operands > FILTER_TERMS_MAX {
            return Err(FilterTooLarge);
        }
        Ok(Filter { role, tags: tags.into_iter().collect(), properties })
    }

    pub fn matches(&self, peer: &PeerView<'_>) -> bool {
        self.role.as_ref().is_none_or(|role| role == peer.role)
            && (self.tags.is_empty() || peer.metadata.tags().any(|tag| self.tags.contains(tag)))
            && self.properties.iter().all(|(name, comparisons)| {
                let property = peer.metadata.property(name);
                property.is_some_and(|value| comparisons.iter().all(|one| one.holds(value)))
            })
    }
}

impl Comparison {
    fn holds(&self, property: &Value) -> bool {
        let is =
            |operand: &Value, wanted: fn(Ordering) -> bool| compare(property, operand).is_some_and(wanted);
        match self {
            Comparison::Equal(operand) => is(operand, Ordering::is_eq),
            Comparison::NotEqual(operand) => is(operand, Ordering::is_ne),
            Comparison::Greater(operand) => is(operand, Ordering::is_gt),
            Comparison::GreaterOrEqual(operand) => is(operand, Ordering::is_ge),
            Comparison::Less(operand) => is(operand, Ordering::is_lt),
            Comparison::LessOrEqual(operand) => is(operand, Ordering::is_le),
            Comparison::OneOf(operands) => operands.iter().any(|operand| is(operand, Ordering::is_eq)),
        }
    }
}

impl fmt::Display for FilterTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter has more than {FILTER_TERMS_MAX} tags and operands")
    }
}

impl std::error::Error for FilterTooLarge {}

fn operands(comparisons: &[Comparison]) -> usize {
    comparisons
        .iter()
        .map(|one| match one {
            Comparison::OneOf(operands) => operands.len().max(1),
            _ => 1,
        })
        .sum()
}

/// UTF-8 sorts by bytes as it does by code points.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// By value, without rounding one side to the kind of the other: 2^53 + 1 is not 2^53 as a float.
fn compare_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => compare_mixed(left, right.as_f64()?),
        (None, Some(right)) => Some(compare_mixed(right, left.as_f64()?)?.reverse()),
        (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
}

/// `integer` fits into 65 bits, so a float beyond them is beyond every integer; within them its
/// whole part is exact as an `i128`.
fn compare_mixed(integer: i128, float: f64) -> Option<Ordering> {
    const BEYOND: f64 = (1_u128 << 65) as f64;
    if float.is_nan() {
        return None;
    }
    if float.abs() >= BEYOND {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = float.trunc();
    let by_whole = integer.cmp(&(whole as i128));
    Some(by_whole.then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Metadata;
    use super::*;
    use crate::base::{NodeId, PeerKey};

    fn matches(filter: &Filter, role: &str, metadata: Value) -> bool {
        let metadata = Metadata::new(metadata);
        let key = PeerKey { node: NodeId::shard(0), slot: 0, generation: 0 };
        let connected_at_unix_seconds = 0;
        filter.matches(&PeerView { peer_id: "p", key, role, metadata: &metadata, connected_at_unix_seconds })
    }

    fn property_matches(property: Value, comparisons: Vec<Comparison>) -> bool {
        let filter = Filter::new(None, vec![], vec![("p".to_owned(), comparisons)]).unwrap();
        matches(&filter, "peer", json!({"properties": {"p": property}}))
    }

    fn ordering(left: &str, right: &str) -> Option<Ordering> {
        let value = |text| serde_json::from_str::<Value>(text).expect("a number");
        compare(&value(left), &value(right))
    }

    #[test]
    fn without_terms_everyone_matches() {
        for metadata in [json!({}), json!(null), json!([1])] {
            assert!(matches(&Filter::default(), "any", metadata));
        }
    }

    #[test]
    fn the_role_must_be_the_very_one() {
        let filter = Filter::new(Some("worker".to_owned()), vec![], vec![]).unwrap();
        assert!(matches(&filter, "worker", json!({})));
        assert!(!matches(&filter, "Worker", json!({})));
    }

    #[test]
    fn one_tag_of_several_is_enough() {
        let tags = vec!["gpu".to_owned(), "training".to_owned()];
        let filter = Filter::new(None, tags, vec![]).unwrap();
        assert!(matches(&filter, "peer", json!({"tags": ["x", "training"]})));
        assert!(!matches(&filter, "peer", json!({"tags": ["x", 5, null]})));
        assert!(!matches(&filter, "peer", json!({"tags": "gpu"})));
        assert!(!matches(&filter, "peer", json!({})));
    }

    #[test]
    fn role_tags_and_properties_must_all_hold() {
        let properties = vec![
            ("memory".to_owned(), vec![Comparison::GreaterOrEqual(json!(8192))]),
            ("version".to_owned(), vec![Comparison::Equal(json!("1.3.0"))]),
        ];
        let filter = Filter::new(Some("worker".to_owned()), vec!["gpu".to_owned()], properties).unwrap();
        let fit = json!({"tags": ["gpu"], "properties": {"memory": 16384, "version": "1.3.0"}});
        assert!(matches(&filter, "worker", fit.clone()));
        assert!(!matches(&filter, "client", fit.clone()));
        for (path, value) in
            [("/tags", json!([])), ("/properties/memory", json!(8191)), ("/properties/version", json!("1.3"))]
        {
            let mut unfit = fit.clone();
            *unfit.pointer_mut(path).unwrap() = value;
            assert!(!matches(&filter, "worker", unfit), "{path}");
        }
    }

    #[test]
    fn each_comparison_holds_on_its_side_of_the_operand() {
        let at = |comparison: fn(Value) -> Comparison| {
            [1, 2, 3].map(|property| property_matches(json!(property), vec![comparison(json!(2))]))
        };
        assert_eq!(at(Comparison::Equal), [false, true, false]);
        assert_eq!(at(Comparison::NotEqual), [true, false, true]);
        assert_eq!(at(Comparison::Greater), [false, false, true]);
        assert_eq!(at(Comparison::GreaterOrEqual), [false, true, true]);
        assert_eq!(at(Comparison::Less), [true, false, false]);
        assert_eq!(at(Comparison::LessOrEqual), [true, true, false]);
        let one_of = |operands: Value| Comparison::OneOf(operands.as_array().unwrap().clone());
        assert!(property_matches(json!("b"), vec![one_of(json!([1, "a", "b"]))]));
        assert!(!property_matches(json!("c"), vec![one_of(json!([1, "a", "b"]))]));
        assert!(!property_matches(json!("c"), vec![one_of(json!([]))]));
    }

    #[test]
    fn all_comparisons_of_a_property_must_hold() {
        let range = || vec![Comparison::Greater(json!(1)), Comparison::Less(json!(3))];
        assert!(property_matches(json!(2), range()));
        assert!(!property_matches(json!(1), range()));
        assert!(!property_matches(json!(3), range()));
    }

    #[test]
    fn a_missing_property_fails_even_the_comparison_with_nothing_in_it() {
        let filter = Filter::new(None, vec![], vec![("q".to_owned(), vec![])]).unwrap();
        assert!(!matches(&filter, "peer", json!({"properties": {"p": 1}})));
        assert!(matches(&filter, "peer", json!({"properties": {"q": 1}})));
        let unequal = vec![("q".to_owned(), vec![Comparison::NotEqual(json!(5))])];
        assert!(!matches(&Filter::new(None, vec![], unequal).unwrap(), "peer", json!({})));
    }

    #[test]
    fn what_does_not_compare_never_matches() {
        let kinds = [json!(1), json!("1"), json!(true), json!(null), json!([1]), json!({"a": 1})];
        for (at, property) in kinds.iter().enumerate() {
            for (with, operand) in kinds.iter().enumerate() {
                let comparable = at == with && at < 2;
                let some = [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::Greater]
                    .map(|comparison| property_matches(property.clone(), vec![comparison(operand.clone())]));
                assert_eq!(some.contains(&true), comparable, "{property} with {operand}");
            }
        }
    }

    #[test]
    fn strings_compare_by_code_point() {
        // U+FFFF sorts after U+1F600 in UTF-16 and before it by code point.
        assert_eq!(compare(&json!("\u{ffff}"), &json!("\u{1f600}")), Some(Ordering::Less));
        assert_eq!(compare(&json!("Z"), &json!("a")), Some(Ordering::Less));
        assert_eq!(compare(&json!("10"), &json!("9")), Some(Ordering::Less));
        assert_eq!(compare(&json!(""), &json!("")), Some(Ordering::Equal));
    }

    #[test]
    fn numbers_compare_by_their_exact_value() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, expected) in [
            ("1", "1.0", Equal),
            ("0", "-0.0", Equal),
            ("1e2", "100", Equal),
            ("9007199254740993", "9007199254740992.0", Greater),
            ("9007199254740993", "9007199254740992", Greater),
            ("18446744073709551615", "18446744073709551614", Greater),
            ("18446744073709551615", "1.8446744073709552e19", Less),
            ("-9223372036854775808", "-9223372036854775808.0", Equal),
            ("-9223372036854775808", "18446744073709551615", Less),
            ("-1", "-1.5", Greater),
            ("-2", "-1.5", Less),
            ("1", "1.5", Less),
            ("2", "1.5", Greater),
            ("0", "1e-300", Less),
            ("18446744073709551615", "1e300", Less),
            ("-1", "-1e300", Greater),
            ("0.1", "0.2", Less),
        ] {
            assert_eq!(ordering(left, right), Some(expected), "{left} with {right}");
            assert_eq!(ordering(right, left), Some(expected.reverse()), "{right} with {left}");
        }
    }

    #[test]
    fn a_filter_is_bounded_in_its_terms() {
        let tags = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert!(Filter::new(None, tags(FILTER_TERMS_MAX), vec![]).is_ok());
        assert_eq!(Filter::new(None, tags(FILTER_TERMS_MAX + 1), vec![]).err(), Some(FilterTooLarge));
        let one_of = Comparison::OneOf(vec![json!(1); FILTER_TERMS_MAX]);
        assert!(Filter::new(None, vec![], vec![("p".to_owned(), vec![one_of])]).is_err());
        let empty = vec![("p".to_owned(), vec![]); FILTER_TERMS_MAX + 1];
        assert!(Filter::new(None, vec![], empty).is_err());
    }
}
