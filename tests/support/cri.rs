//! Pulls as kubelet has them made: over containerd's socket, by the CRI.
//!
//! The messages are those of <https://github.com/kubernetes/cri-api>, as far as they are needed here.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;

use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageResponse {
    #[prost(string, tag = "1")]
    image_ref: String,
}

/// Pulls an image by the CRI of the containerd that listens on a socket; what that says otherwise.
pub(crate) fn pull(socket: &str, image: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{socket}")).map_err(|error| error.to_string())?;
        let channel = endpoint.timeout(LIMIT).connect().await.map_err(|error| format!("{socket}: {error:?}"))?;
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| error.to_string())?;
        let request = PullImageRequest { image: Some(ImageSpec { image: image.to_owned() }) };
        let method = PathAndQuery::from_static("/runtime.v1.ImageService/PullImage");
        let codec = ProstCodec::<PullImageRequest, PullImageResponse>::default();
        let answer = client.unary(tonic::Request::new(request), method, codec).await;
        match answer.map_err(|status| status.message().to_owned())?.into_inner().image_ref {
            image_ref if image_ref.is_empty() => Err("no image came of it".to_owned()),
            _ => Ok(()),
        }
    })
}
