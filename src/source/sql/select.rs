//! The text of a resource's queries, and what to bind to their parameters.
//!
//! Names come from the catalogue and are quoted; values are always bound.

use super::{
    catalogue::comparison,
    dialect::Dialect,
    keyset::{self, Piece, Range},
    plan::{FilterColumn, Plan, Select},
};
use crate::source::{Comparison, Condition, Operand, Operator};

/// A condition that every row meets, and one that none does.
const ALWAYS: &str = "1 = 1";
const NEVER: &str = "1 = 0";

/// A query: its text, and its parameters in the order of the text.
#[derive(Debug)]
pub(in crate::source) struct Statement<'a> {
    pub(in crate::source) text: String,
    pub(in crate::source) binds: Vec<Bind<'a>>,
}

/// What is bound to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Bind<'a> {
    /// The key value at this index of the cursor.
    Key(usize),
    /// A filter's value.
    Value(&'a str, Operand),
    /// All values of a filter, as one parameter.
    List(&'a [String], Operand),
    /// A filter's pattern, in SQL's syntax.
    Pattern(String),
    /// The most rows.
    Limit,
}

/// The rows of one key range that meet the conditions.
pub(in crate::source) fn rows<'a>(plan: &'a Plan, range: &Range, conditions: &'a [Condition]) -> Statement<'a> {
    columns(plan, &plan.selects, range, conditions)
}

/// The same, with other columns.
pub(in crate::source) fn columns<'a>(
    plan: &'a Plan,
    selects: &[Select],
    range: &Range,
    conditions: &'a [Condition],
) -> Statement<'a> {
    let selects: Vec<&str> = selects.iter().map(|select| &*select.sql).collect();
    let mut writer = Writer::new(plan, format!("SELECT {} FROM {}", selects.join(", "), plan.table));
    writer.conditions(range, conditions);
    writer.push(" ORDER BY ");
    writer.push(&keyset::order_by(&plan.order));
    writer.push(" LIMIT ");
    writer.bind("?", Bind::Limit);
    writer.statement
}

/// How many rows meet the conditions.
pub(in crate::source) fn count<'a>(plan: &'a Plan, conditions: &'a [Condition]) -> Statement<'a> {
    let mut writer = Writer::new(plan, format!("SELECT count(*) FROM {}", plan.table));
    writer.conditions(&vec![], conditions);
    writer.statement
}

/// A query that the database accepts only if the operator's condition is complete. A condition like
/// `id = 1) OR (1 = 1`, which closes a parenthesis that it has not opened, is valid between
/// parentheses. It would let rows in that the other conditions exclude.
pub(in crate::source) fn condition_alone(plan: &Plan) -> Option<String> {
    let condition = plan.condition.as_ref()?;
    Some(format!("SELECT CASE WHEN\n{condition}\nTHEN 1 END FROM {}", plan.table))
}

/// A request's pattern as SQL's: `*` and `%` stand for any characters, `_` for one.
fn pattern(text: &str) -> String {
    text.replace('*', "%")
}

/// The parameter with this number, counted from one, as SQL.
pub(in crate::source) fn parameter(dialect: &Dialect, number: usize) -> String {
    if dialect.numbered { format!("${number}") } else { "?".to_owned() }
}

struct Writer<'a> {
    plan: &'a Plan,
    statement: Statement<'a>,
}

impl<'a> Writer<'a> {
    fn new(plan: &'a Plan, text: String) -> Writer<'a> {
        Writer { plan, statement: Statement { text, binds: vec![] } }
    }

    fn push(&mut self, sql: &str) {
        self.statement.text.push_str(sql);
    }

    /// Writes a parameter; `template` is SQL with one `?` in its place.
    fn bind(&mut self, template: &str, bind: Bind<'a>) {
        self.statement.binds.push(bind);
        let (before, after) = template.split_once('?').unwrap_or((template, ""));
        let parameter = parameter(self.plan.dialect, self.statement.binds.len());
        self.statement.text.extend([before, &parameter, after]);
    }

    fn conditions(&mut self, range: &Range, conditions: &'a [Condition]) {
        let mut next = " WHERE ";
        if let Some(condition) = &self.plan.condition {
            self.push(next);
            // On lines of its own, so that a comment at its end hides nothing.
            self.push(&format!("(\n{condition}\n)"));
            next = " AND ";
        }

        if !range.is_empty() {
            self.push(next);
            next = " AND ";
        }

        for piece in range {
            match piece {
                Piece::Sql(sql) => self.push(sql),
                Piece::Key(index) => self.bind(&self.plan.order[*index].bind, Bind::Key(*index)),
            }
        }

        for condition in conditions {
            self.push(next);
            self.condition(condition);
            next = " AND ";
        }
    }

    fn condition(&mut self, condition: &'a Condition) {
        match condition {
            Condition::Is(comparison) => self.comparison(comparison),
            Condition::All(parts) => self.group(parts, " AND ", ALWAYS),
            Condition::Any(parts) => self.group(parts, " OR ", NEVER),
        }
    }

    fn group(&mut self, parts: &'a [Condition], between: &str, alone: &str) {
        if parts.is_empty() {
            return self.push(alone);
        }
        for (index, part) in parts.iter().enumerate() {
            self.push(if index > 0 { between } else { "(" });
            self.condition(part);
        }
        self.push(")");
    }

    fn comparison(&mut self, comparison: &'a Comparison) {
        let plan = self.plan;
        let Some(at) = plan.filters.iter().position(|filter| filter.column == comparison.column) else {
            // Only declared filters are allowed; a condition on any other column is never true.
            return self.push(NEVER);
        };

        // An empty list holds no value, and not every database has a syntax for one.
        if comparison.values.is_empty() {
            match comparison.operator {
                Operator::In => return self.push(NEVER),
                Operator::NotIn => return self.push(ALWAYS),
                _ => {}
            }
        }

        let column = &plan.filter_columns[at];
        let operand = plan.filters[at].operand;
        let exists = column.pointed.as_ref().and_then(|row| row.exists.as_deref());
        let Some(exists) = exists else { return self.compared(column, operand, comparison) };

        // No row, or one with NULL there: there is none with another value.
        if comparison.operator == Operator::IsNull {
            self.push(&format!("NOT {exists}{} IS NOT NULL)", column.sql));
        } else {
            self.push(exists);
            self.compared(column, operand, comparison);
            self.push(")");
        }
    }

    fn compared(&mut self, column: &FilterColumn, operand: Operand, comparison: &'a Comparison) {
        let sign = match comparison.operator {
            Operator::Eq => "=",
            Operator::Neq => "<>",
            Operator::Gt => ">",
            Operator::Gte => ">=",
            Operator::Lt => "<",
            Operator::Lte => "<=",
            Operator::IsNull => return self.push(&format!("{} IS NULL", column.sql)),
            Operator::IsNotNull => return self.push(&format!("{} IS NOT NULL", column.sql)),
            Operator::Like => return self.like(column, comparison, ["", " LIKE ", ""]),
            Operator::Ilike => return self.like(column, comparison, self.plan.dialect.ilike),
            Operator::In => return self.list(column, &comparison.values, operand),
            Operator::NotIn => {
                self.push("NOT (");
                self.list(column, &comparison.values, operand);
                return self.push(")");
            }
            Operator::NotLike => {
                self.push("NOT (");
                self.like(column, comparison, ["", " LIKE ", ""]);
                return self.push(")");
            }
            Operator::NotIlike => {
                self.push("NOT (");
                self.like(column, comparison, self.plan.dialect.ilike);
                return self.push(")");
            }
        };

        self.push(&format!("{} {} ", column.sql, sql_sign(column, sign)));
        for text in &comparison.values {
            self.bind(&column.bind, Bind::Value(text, operand));
        }
    }

    /// Compares with a pattern. `around` is what stands before the column, between it and the
    /// pattern, and behind that.
    fn like(&mut self, column: &FilterColumn, comparison: &'a Comparison, around: [&str; 3]) {
        let [before, between, behind] = around;
        self.push(&format!("{before}{}{between}", column.sql));
        for text in &comparison.values {
            self.bind("?", Bind::Pattern(pattern(text)));
        }
        self.push(behind);
        self.push(self.plan.dialect.no_escape);
    }

    fn list(&mut self, column: &FilterColumn, values: &'a [String], operand: Operand) {
        self.push(&column.sql);
        // One text for lists of every length; otherwise a cache of statements would hold one for
        // each length.
        if let Some(in_list) = self.plan.dialect.in_list {
            let equal = sql_sign(column, "=");
            return self.bind(&in_list.replacen('=', &equal, 1), Bind::List(values, operand));
        }
        self.push(" IN (");
        for (index, value) in values.iter().enumerate() {
            self.push(if index > 0 { ", " } else { "" });
            self.bind(&column.bind, Bind::Value(value, operand));
        }
        self.push(")");
    }
}

fn sql_sign(column: &FilterColumn, sign: &str) -> String {
    comparison(column.operator.as_deref(), sign)
}
