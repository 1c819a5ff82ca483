//! Links between the documents, to files and to headings.

use std::{collections::BTreeSet, path::Path};

use super::{documents, prose, read, root};

/// Where the links of a line lead, code spans apart.
fn targets(line: &str) -> Vec<String> {
    let words: String = line.split('`').step_by(2).collect();
    let behind = words.split("](").skip(1);
    behind.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of a document, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    for heading in headings.map(|line| line.trim_start_matches('#').trim().to_lowercase()) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let is_new = found.insert(anchor.clone());
        assert!(is_new, "two headings have the anchor {anchor}, of which only one can be linked to");
    }
    found
}

#[test]
fn each_link_of_a_document_leads_to_a_file_and_a_heading_that_are_there() {
    let documents = documents();
    assert!(documents.len() > 20, "{documents:?}");
    let mut links = 0;
    for document in &documents {
        let text = read(document);
        let folder = Path::new(document).parent().unwrap();
        for target in prose(&text).flat_map(targets).filter(|target| !target.contains("://")) {
            links += 1;
            let (file, heading) = target.split_once('#').map_or((&*target, None), |(file, at)| (file, Some(at)));
            let path = if file.is_empty() { document.into() } else { folder.join(file) };
            assert!(root().join(&path).exists(), "{document} links to {target}, where nothing is");
            let Some(heading) = heading else { continue };
            let there = anchors(&read(path.to_str().unwrap()));
            assert!(there.contains(heading), "{document} links to {target}; its headings are {there:?}");
        }
    }

    assert!(links > 100, "{links} links were found");
}

#[test]
fn the_map_of_the_documents_names_each_of_them_and_the_readme_names_the_map() {
    assert!(read("README.md").contains("](docs/README.md)"));
    let map = read("docs/README.md");
    for document in documents() {
        let name = document.strip_prefix("docs/").map_or(format!("../{document}"), str::to_owned);
        if name != "README.md" && !document.starts_with("benches/") {
            assert!(map.contains(&format!("]({name})")), "the map has no {document}");
        }
    }
}
