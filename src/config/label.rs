//! Finds the column that names a row for people.

use super::secrets::folded;
use crate::source::TableInfo;

/// Names of such columns, the best first.
const LABELS: &[&str] = &[
    "slug",
    "name",
    "title",
    "label",
    "displayname",
    "fullname",
    "nom",
    "nombre",
    "nome",
    "naam",
    "nazwa",
    "titel",
    "titre",
    "titulo",
    "titolo",
    "bezeichnung",
    "isim",
    "название",
    "имя",
    "名前",
    "名称",
    "名稱",
    "이름",
    "code",
];
/// Endings of further such names.
const ENDS: &[&str] =
    &["name", "title", "label", "nom", "nombre", "nome", "naam", "nazwa", "titel", "titre", "titulo", "titolo"];
/// Endings of names that also identify a row, but tell more about a person than a name does.
const LAST: &[&str] = &["username", "login", "nickname", "nick", "handle"];
/// Parts of names of texts that name nothing, or that people would not want shown beside everything
/// of theirs.
const NEVER: &[&str] = &[
    "mail",
    "phone",
    "mobile",
    "tel",
    "fax",
    "address",
    "street",
    "zip",
    "postal",
    "city",
    "birth",
    "iban",
    "note",
    "comment",
    "remark",
    "description",
    "body",
    "text",
    "content",
    "bio",
    "message",
    "json",
    "html",
    "xml",
    "url",
    "uri",
    "path",
    "file",
    "image",
    "photo",
    "avatar",
    "hash",
    "ip",
    "agent",
    "host",
    "correo",
    "adresse",
    "direccion",
    "telefon",
    "indirizzo",
];

/// The column of a table that names its rows for people: a name before any other text, and never an
/// e-mail address.
pub(super) fn label(target: &TableInfo) -> Option<String> {
    let texts: Vec<(&String, String)> =
        target.columns.iter().filter(|(_, text)| *text).map(|(name, _)| (name, folded(name))).collect();
    let exact = LABELS.iter().find_map(|label| texts.iter().find(|(_, name)| name == label));
    let is_last = |name: &str| LAST.iter().any(|last| name.ends_with(last));
    let never = |name: &str| NEVER.iter().any(|never| name.contains(never));
    let named = || {
        let ends = |name: &str| ENDS.iter().any(|end| name.ends_with(end));
        texts.iter().find(|(_, name)| ends(name) && !is_last(name) && !never(name))
    };
    let other = || texts.iter().find(|(_, name)| !is_last(name) && !never(name));
    let last = || texts.iter().find(|(_, name)| is_last(name) && !name.contains("mail"));
    exact.or_else(named).or_else(other).or_else(last).map(|(name, _)| (*name).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_called_by_its_name_and_never_by_what_is_private() {
        for (columns, expected) in [
            (&["email", "name"][..], Some("name")),
            (&["username", "email", "first_name"], Some("first_name")),
            (&["email", "username"], Some("username")),
            (&["email", "phone", "bio"], None),
            (&["user_email", "display_name", "user_login"], Some("display_name")),
            (&["E_Mail", "Nachname", "Vorname"], Some("Nachname")),
            (&["iso", "hostname", "city_name"], Some("iso")),
            (&["body", "headline"], Some("headline")),
            (&["correo", "nombre"], Some("nombre")),
            (&["code", "title"], Some("title")),
            (&[], None),
        ] {
            let columns = columns.iter().map(|name| ((*name).to_owned(), true)).collect();
            let info = TableInfo { columns, ..TableInfo::default() };
            assert_eq!(label(&info).as_deref(), expected, "{:?}", info.columns);
        }
    }
}
