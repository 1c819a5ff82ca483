//! `chunkflow purge`

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Exit, open::Opener};
use crate::{config::AdminConfig, suggest, web::Body};

pub(super) async fn run(opener: &Opener<'_>, resource: &str) -> Result<Exit> {
    let config = opener.config()?;
    let known: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
    if !known.contains(&resource) {
        eprintln!("there is no resource `{resource}`; {}", suggest::remedy("resources", resource, &known));
        return Ok(Exit::Usage);
    }
    if !config.store.url.starts_with("memory:") {
        config.open().await?.purge(resource).await?;
    } else if let Some(admin) = &config.admin {
        ask(admin, resource).await?;
    } else {
        bail!(
            "the chunks are in the running server's memory: give it an [admin] listener, through which it can be asked"
        )
    }
    println!("purged {resource}");
    Ok(Exit::Done)
}

/// Asks the running server.
async fn ask(admin: &AdminConfig, resource: &str) -> Result<()> {
    let reached = || format!("no server answers at {}, the address of [admin]", admin.listen);
    let stream = TcpStream::connect(admin.listen).await.with_context(reached)?;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await.with_context(reached)?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("/purge/{resource}"))
        .header(header::HOST, admin.listen.to_string());
    if let Some(token) = &admin.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = sender.send_request(request.body(Body::from(Bytes::new()))?).await.with_context(reached)?;
    match response.status() {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::UNAUTHORIZED => bail!("the running server has another token in [admin]"),
        status => bail!("the running server answered {status}: is it the server of this configuration?"),
    }
}
