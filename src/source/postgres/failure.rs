//! What PostgreSQL's failures are signs of.

/// Whether a value has made a query fail, and not the query itself, the server, the connection or
/// what its user may do (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
/// Functions raise what they like, so this is what is left.
pub(super) fn is_error_of_a_value(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code().map(|code| code.code()) else { return false };
    // Damaged tables and indexes; a query behind one that has failed.
    match code {
        "XX001" | "XX002" => false,
        "25P02" => true,
        _ => ![
            "08", "0B", "0L", "0P", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58",
            "F0",
        ]
        .contains(&&code[..2]),
    }
}
