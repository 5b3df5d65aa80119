//! The routes below `/api/v1/headend/campaigns`: firmware for many meters.
//!
//! The image is the body; what is to be done with it stands in the query.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::desk::{CampaignAction, CampaignView, NewCampaign, Previous};
use crate::error::ApiError;
use crate::headend::{
    Office, OfficeState, Operator, PathText, answer, number, other_method, read, settle,
};

/// Longest image that is read, in bytes; a longer one is refused with 413.
pub(crate) const IMAGE_MAX: usize = 16 << 20;

const IMAGE_TYPE: &str = "application/octet-stream";

/// The routes of campaigns.
pub(crate) fn routes(office: Arc<Office>) -> Router {
    let image = || DefaultBodyLimit::max(IMAGE_MAX);
    Router::new()
        .route(
            "/api/v1/headend/campaigns",
            get(campaigns).post(start).layer(image()),
        )
        .route("/api/v1/headend/campaigns/{id}", get(campaign))
        .route("/api/v1/headend/campaigns/{id}/pause", post(pause))
        .route("/api/v1/headend/campaigns/{id}/resume", post(resume))
        .route("/api/v1/headend/campaigns/{id}/abort", post(abort))
        .route(
            "/api/v1/headend/campaigns/{id}/rollback",
            post(roll_back).layer(image()),
        )
        .method_not_allowed_fallback(other_method)
        .with_state(office)
}

async fn campaigns(State(office): OfficeState) -> Result<Response, ApiError> {
    let mut campaigns = settle(office.desk()?.campaigns()).await?;
    campaigns.truncate(CampaignView::CAMPAIGNS_MAX);
    Ok(Json(campaigns).into_response())
}

async fn campaign(
    State(office): OfficeState,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "campaign")?;
    answer(desk.campaign(id)).await
}

async fn start(
    State(office): OfficeState,
    Operator(by): Operator,
    query: Result<Query<NewCampaign>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let Query(campaign) = query.map_err(|error| ApiError::CampaignQuery(error.body_text()))?;
    let image = {
        let _place = office.place_for_body()?;
        read(request, IMAGE_TYPE, IMAGE_MAX).await?.to_vec()
    };
    created(settle(desk.start_campaign(campaign, image, by)).await?)
}

async fn roll_back(
    State(office): OfficeState,
    Operator(by): Operator,
    id: PathText,
    query: Result<Query<Previous>, QueryRejection>,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, &uri, "campaign")?;
    let Query(previous) = query.map_err(|error| ApiError::CampaignQuery(error.body_text()))?;
    let image = {
        let _place = office.place_for_body()?;
        read(request, IMAGE_TYPE, IMAGE_MAX).await?.to_vec()
    };
    created(settle(desk.roll_back(id, previous, image, by)).await?)
}

fn created(view: CampaignView) -> Result<Response, ApiError> {
    let place = format!("/api/v1/headend/campaigns/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(view)).into_response())
}

async fn pause(
    state: OfficeState,
    by: Operator,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    change(state, by, id, &uri, CampaignAction::Pause).await
}

async fn resume(
    state: OfficeState,
    by: Operator,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    change(state, by, id, &uri, CampaignAction::Resume).await
}

async fn abort(
    state: OfficeState,
    by: Operator,
    id: PathText,
    uri: Uri,
) -> Result<Response, ApiError> {
    change(state, by, id, &uri, CampaignAction::Abort).await
}

async fn change(
    State(office): OfficeState,
    Operator(by): Operator,
    id: PathText,
    uri: &Uri,
    action: CampaignAction,
) -> Result<Response, ApiError> {
    let desk = office.desk()?;
    let id = number(id, uri, "campaign")?;
    answer(desk.change_campaign(id, action, by)).await
}
