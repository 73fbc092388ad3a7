//! On which line of a file what is.

use crate::model::workflow::check::Flaw;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;
use std::{collections::BTreeMap, fmt};

/// The lines of a file's fields, by stage and field. Of two stages with one name the second is the one to mend.
pub(super) struct Lines<'a> {
    text: &'a str,
    fields: BTreeMap<(Option<String>, String), u64>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut lines = Self { text, fields: BTreeMap::new() };
        if let Ok(Node::Map(top)) = serde_saphyr::from_str::<Node>(text) {
            lines.take(None, "", &top);
            lines.stages(&top);
        }
        lines
    }

    fn take(&mut self, stage: Option<&str>, prefix: &str, fields: &[(Spanned<String>, Node)]) {
        for (key, value) in fields {
            let field = format!("{prefix}{}", key.value);
            self.fields.insert((stage.map(str::to_owned), field.clone()), key.referenced.line());
            if let Node::Map(inner) = value {
                self.take(stage, &format!("{field}."), inner);
            }
        }
    }

    fn stages(&mut self, of: &[(Spanned<String>, Node)]) {
        let stages = of.iter().filter(|(key, _)| key.value == "stages").filter_map(|(_, value)| match value {
            Node::List(items) => Some(items),
            _ => None,
        });
        for item in stages.flatten() {
            let Node::Map(fields) = item else { continue };
            let name = fields.iter().find_map(|(key, value)| match value {
                Node::Text(name) if key.value == "name" => Some(name.as_str()),
                _ => None,
            });
            self.take(name, "", fields);
            self.stages(fields);
        }
    }

    /// The line of what is wrong: of the field's text, else of the field, else of what it lies in.
    pub(super) fn of_flaw(&self, flaw: &Flaw) -> Option<u64> {
        let find = |field: &str| self.fields.get(&(flaw.stage.clone(), field.to_owned())).copied();
        let Some(line) = find(flaw.field) else {
            let outer = flaw.field.split('.').next().unwrap_or_default();
            return find(outer).or_else(|| flaw.stage.as_ref().and_then(|_| find("name")));
        };
        let head = self.text.lines().nth(usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1)).unwrap_or_default();
        // Only a block that keeps its lines has those of the file.
        let keeps_lines = head.split_once(':').is_some_and(|(_, value)| value.trim_start().starts_with('|'));
        Some(line + flaw.line.filter(|_| keeps_lines).map_or(0, |within| within as u64))
    }
}

/// Anything in a file, as far as lines are concerned.
enum Node {
    Map(Vec<(Spanned<String>, Node)>),
    List(Vec<Node>),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value == "output_schema" {
                map.next_value::<IgnoredAny>()?;
                fields.push((key, Node::Other));
            } else {
                fields.push((key, map.next_value()?));
            }
        }
        Ok(Node::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
}
