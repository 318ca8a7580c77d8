//! A request of a client as the service of the data path gets it, in HTTP/1.1 and HTTP/2.

use http::Request;
use http::request::Parts;
use hyper::body::Incoming;
use hyper::service::Service;

use super::body::ClientBody;

/// A request of a client.
#[derive(Debug)]
pub struct ClientRequest {
    /// Handed on many times on its way: it stays where it is meanwhile.
    pub head: Box<Parts>,
    /// What follows it.
    pub body: ClientBody,
}

/// A service that is a function of requests: what hyper's `service_fn` is for requests of hyper's.
#[derive(Clone, Copy, Debug)]
pub struct ClientService<F>(F);

impl From<Request<Incoming>> for ClientRequest {
    fn from(request: Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head: Box::new(head),
            body: body.into(),
        }
    }
}

impl From<ClientRequest> for Request<ClientBody> {
    fn from(request: ClientRequest) -> Self {
        Self::from_parts(*request.head, request.body)
    }
}

/// Makes a service of a function.
pub fn client_service<F, A>(answer: F) -> ClientService<F>
where
    F: Fn(ClientRequest) -> A,
{
    ClientService(answer)
}

impl<F, A, R, E> Service<ClientRequest> for ClientService<F>
where
    F: Fn(ClientRequest) -> A,
    A: Future<Output = Result<R, E>>,
{
    type Response = R;
    type Error = E;
    type Future = A;

    fn call(&self, request: ClientRequest) -> A {
        (self.0)(request)
    }
}
