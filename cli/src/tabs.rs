//! Columns for the terminal, as Go's text/tabwriter aligns them with Docker's settings.
//!
//! May not: cut. Cells end with a tab; what follows the last tab of a line is no cell and widens nothing.

use crate::width;

/// Docker's tables.
pub const TABLE: Layout = Layout {
    least: 10,
    padding: 3,
};
/// Docker's `version`.
pub const FACTS: Layout = Layout {
    least: 20,
    padding: 1,
};

/// How wide columns are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// With the padding.
    pub least: usize,
    pub padding: usize,
}

/// Replaces tabs by spaces, so that the cells of consecutive lines stand below each other.
pub fn align(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut first = 0;
        while first < lines.len() {
            // A column is as long as consecutive lines have a cell in it.
            let rows = widths[first..].iter().take_while(|w| w.len() > column).count();
            let block = first..first + rows;
            let widest = lines[block.clone()]
                .iter()
                .map(|l| width::of(l[column]) + layout.padding)
                .fold(layout.least, usize::max);
            for row in &mut widths[block] {
                row[column] = widest;
            }
            first += rows.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (n, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        out.push_str(if n > 0 { "\n" } else { "" });
        for (m, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            let missing = widths.get(m).map_or(0, |w| w.saturating_sub(width::of(cell)));
            out.extend(std::iter::repeat_n(' ', missing));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_ends_where_a_line_has_no_cell_in_it() {
        let text = "a\tb\tc\nlong long long\tb\tc\n\nx\ty\nwide\u{5bbd}\tz\n";
        assert_eq!(
            align(text, TABLE),
            "a                b         c\nlong long long   b         c\n\nx         y\nwide\u{5bbd}    z\n"
        );
    }

    #[test]
    fn the_last_cell_is_padded_only_if_a_tab_ends_it() {
        assert_eq!(align("a\t\nb\t", TABLE), "a         \nb         ");
        assert_eq!(align("", TABLE), "");
    }
}
