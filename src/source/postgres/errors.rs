//! Classifies PostgreSQL's errors.

/// Whether a value has failed a query, as opposed to the query itself, the server, the connection
/// or a missing right (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). A
/// function may raise any code, so these are all codes but those.
pub(super) fn is_error_of_a_value(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code().map(|code| code.code()) else { return false };
    // Damaged tables and indexes; a query in a transaction that has failed already.
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
