//! Lists: columns aligned as Docker's are, or one template a row.

use crate::complain::Complaint;
use crate::format::{Document, Format, LABELS};
use crate::json::Json;
use crate::output;
use std::fmt::Write as _;

/// The least width of a column, and the spaces behind its longest cell.
const LEAST: usize = 10;
const GAP: usize = 3;

/// One thing in a list: names of columns and what stands in them.
pub(crate) struct Row {
    members: Vec<(String, Json)>,
}

impl Row {
    /// A row without columns.
    pub(crate) fn new() -> Self {
        Row { members: Vec::new() }
    }

    /// Adds a column's text.
    pub(crate) fn with(mut self, name: &str, text: impl Into<String>) -> Self {
        self.members.push((name.to_owned(), Json::String(text.into())));
        self
    }

    /// Adds a column that has no text at all.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.members.push((name.to_owned(), Json::Null));
        self
    }

    /// Adds the labels: the column `Labels`, and `.Label "key"`.
    pub(crate) fn with_labels<'l>(mut self, labels: impl Iterator<Item = (&'l String, &'l String)>) -> Self {
        let pairs: Vec<(String, Json)> =
            labels.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let text: Vec<String> = pairs
            .iter()
            .map(|(key, value)| match value {
                Json::String(value) => format!("{key}={value}"),
                _ => key.clone(),
            })
            .collect();
        self.members.push((LABELS.to_owned(), Json::Object(pairs)));
        self.with("Labels", text.join(","))
    }

    /// As `{{json .}}` shows it: sorted, and without what is only there for functions.
    fn document(mut self) -> Document {
        self.members.sort_by(|one, other| one.0.cmp(&other.0));
        let hidden =
            self.members.iter().position(|(name, _)| name == LABELS).map(|at| self.members.remove(at));
        // Go escapes in rows, for browsers, what it leaves alone in other JSON.
        let shown = Json::Object(self.members.clone()).compact();
        let shown = shown.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        self.members.extend(hidden);
        Document::shown_as(&Json::Object(self.members), shown)
    }
}

/// How a list is shown.
pub(crate) struct Listing<'a> {
    /// The columns: name and title.
    pub(crate) titles: &'a [(&'a str, &'a str)],
    /// The table's template if none is asked for.
    pub(crate) table: &'a str,
}

impl Listing<'_> {
    /// Shows rows in the format asked for.
    pub(crate) fn show(&self, format: Option<&str>, rows: Vec<Row>) -> Result<(), Complaint> {
        Ok(output::text(&self.render(format, rows)?)?)
    }

    fn render(&self, format: Option<&str>, rows: Vec<Row>) -> Result<String, Complaint> {
        let format = format.unwrap_or("table").trim();
        let (source, is_table) = match format.strip_prefix("table") {
            Some("") => (self.table, true),
            Some(rest) if rest.starts_with(char::is_whitespace) || rest.starts_with("{{") => {
                (rest.trim(), true)
            }
            _ => (format, false),
        };
        let complain = |reason| Complaint::new(format!("failed to execute template: {reason}"));
        let parsed = Format::new(source);
        let format =
            parsed.map_err(|reason| Complaint::new(format!("failed to parse template: {reason}")))?;
        let mut text = String::new();
        if is_table {
            text.push_str(&format.header(self.titles).map_err(complain)?);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&format.render(&row.document()).map_err(complain)?);
            text.push('\n');
        }
        Ok(if is_table { aligned(&text) } else { text })
    }
}

/// Aligns cells that end in a tab. A column is as wide as its longest cell in consecutive lines; what follows the
/// last tab of a line is no cell and does not count.
pub(crate) fn aligned(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns.saturating_sub(1) {
        let mut from = 0;
        while from < lines.len() {
            let in_block = |line: &Vec<&str>| line.len() > column + 1;
            let to = (from..lines.len()).find(|&at| !in_block(&lines[at])).unwrap_or(lines.len());
            let longest = (from..to).map(|at| lines[at][column].chars().count()).max().unwrap_or(0);
            widths[from..to].iter_mut().for_each(|widths| widths[column] = (longest + GAP).max(LEAST));
            from = to + 1;
        }
    }
    let mut result = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (at, cell) in cells.iter().enumerate() {
            match widths.get(at) {
                Some(width) => _ = write!(result, "{cell:<width$}"),
                None => result.push_str(cell),
            }
        }
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_or_three_more_than_the_longest() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\tbusybox:latest\tweb\n";
        let shown = "CONTAINER ID   IMAGE            NAMES\n0123456789ab   busybox:latest   web\n";
        assert_eq!(aligned(text), shown);
        assert_eq!(aligned("A\tB\nx\ty\n"), "A         B\nx         y\n");
    }

    fn rows() -> Vec<Row> {
        let labels = [("com.example.my-role".to_owned(), "db".to_owned())];
        vec![Row::new().with("ID", "1").with("Name", "one").with_labels(labels.iter().map(|(k, v)| (k, v)))]
    }

    fn shown(format: &str) -> String {
        let titles = &[("ID", "ID"), ("Name", "NAME"), ("Labels", "LABELS")];
        let listing = Listing { titles, table: "{{.ID}}\t{{.Name}}" };
        listing.render(Some(format), rows()).unwrap_or_else(|complaint| complaint.text)
    }

    #[test]
    fn formats_make_tables_lines_and_json() {
        assert_eq!(shown("table"), "ID        NAME\n1         one\n");
        assert_eq!(shown("table {{upper .Name}}\\t{{.ID}}"), "NAME      ID\nONE       1\n");
        assert_eq!(shown("{{.ID}}:{{.Name}}"), "1:one\n");
        assert_eq!(shown("json"), "{\"ID\":\"1\",\"Labels\":\"com.example.my-role=db\",\"Name\":\"one\"}\n");
        assert_eq!(shown("{{json .Name}}"), "\"one\"\n");
    }

    #[test]
    fn labels_are_columns_too() {
        assert_eq!(shown("table {{.Label \"com.example.my-role\"}}"), "my role\ndb\n");
        assert_eq!(shown("{{.Label \"absent\"}}|"), "|\n");
    }

    #[test]
    fn an_unknown_column_is_an_error() {
        assert!(shown("{{.Nonsense}}").starts_with("failed to execute template: template: :1:2: "));
        assert!(shown("{{.ID").starts_with("failed to parse template: template: :1:"));
    }
}
