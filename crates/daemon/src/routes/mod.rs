//! The table of the Engine API, and the handlers by subject. A handler reads the request, asks the engine, and
//! shows the answer; it decides nothing.

mod absent;
mod checkpoints;
mod containers;
mod events;
mod exec;
mod gallery;
mod images;
mod listing;
mod networks;
mod plugins;
mod ports;
mod registry;
mod stats;
mod swarm;
mod system;
mod transfer;
mod volumes;

use crate::router::{Route, route};
pub(crate) use system::os_release;

/// Every route of the daemon, without the version in front.
pub(crate) const TABLE: &[Route] = &[
    route!(GET "/_ping" => system::ping),
    route!(HEAD "/_ping" => system::ping),
    route!(GET "/version" => system::version),
    route!(GET "/info" => system::info),
    route!(GET "/events" => events::stream),
    route!(GET "/system/df" => system::disk_usage),
    route!(POST "/auth" => system::auth),
    //
    route!(GET "/containers/json" => listing::containers),
    route!(POST "/containers/create" => containers::create),
    route!(POST "/containers/prune" => containers::prune),
    route!(GET "/containers/{id...}/json" => containers::inspect),
    route!(GET "/containers/{id...}/top" => containers::top),
    route!(GET "/containers/{id...}/logs" => containers::logs),
    route!(GET "/containers/{id...}/changes" => containers::changes),
    route!(GET "/containers/{id...}/export" => containers::export),
    route!(GET "/containers/{id...}/stats" => stats::stats),
    route!(POST "/containers/{id...}/attach" => containers::attach),
    route!(GET "/containers/{id...}/attach/ws" => containers::attach_websocket),
    route!(POST "/containers/{id...}/start" => containers::start),
    route!(POST "/containers/{id...}/stop" => containers::stop),
    route!(POST "/containers/{id...}/restart" => containers::restart),
    route!(POST "/containers/{id...}/kill" => containers::kill),
    route!(POST "/containers/{id...}/update" => containers::update),
    route!(POST "/containers/{id...}/rename" => containers::rename),
    route!(POST "/containers/{id...}/pause" => containers::pause),
    route!(POST "/containers/{id...}/unpause" => containers::unpause),
    route!(POST "/containers/{id...}/ports" => ports::add),
    route!(DELETE "/containers/{id...}/ports" => ports::remove),
    route!(POST "/containers/{id...}/resize" => containers::resize),
    route!(POST "/containers/{id...}/wait" => containers::wait),
    route!(GET "/containers/{id...}/checkpoints" => checkpoints::list),
    route!(POST "/containers/{id...}/checkpoints" => checkpoints::create),
    route!(DELETE "/containers/{id...}/checkpoints/{checkpoint}" => checkpoints::delete),
    route!(DELETE "/containers/{id...}" => containers::remove),
    route!(HEAD "/containers/{id...}/archive" => transfer::stat),
    route!(GET "/containers/{id...}/archive" => transfer::get),
    route!(PUT "/containers/{id...}/archive" => transfer::put),
    route!(POST "/containers/{id...}/exec" => exec::create),
    route!(POST "/exec/{id...}/start" => exec::start),
    route!(POST "/exec/{id...}/resize" => exec::resize),
    route!(GET "/exec/{id...}/json" => exec::inspect),
    //
    route!(GET "/images/json" => gallery::images),
    route!(POST "/images/create" => images::create),
    route!(POST "/images/load" => images::load),
    route!(GET "/images/get" => images::save),
    route!(GET "/images/search" => registry::search),
    route!(POST "/images/prune" => images::prune),
    route!(GET "/images/{name...}/json" => images::inspect),
    route!(GET "/images/{name...}/history" => images::history),
    route!(GET "/images/{name...}/get" => images::save_one),
    route!(GET "/images/{name...}/attestations" => absent::attestations),
    route!(POST "/images/{name...}/tag" => images::tag),
    route!(POST "/images/{name...}/push" => images::push),
    route!(DELETE "/images/{name...}" => images::remove),
    route!(GET "/distribution/{name...}/json" => registry::inspect),
    route!(POST "/commit" => images::commit),
    route!(POST "/build" => absent::build),
    route!(POST "/build/prune" => absent::no_build_cache),
    route!(POST "/build/cancel" => absent::cancel_build),
    route!(POST "/session" => absent::build_session),
    route!(POST "/grpc" => absent::build_session),
    //
    route!(GET "/networks" => networks::list),
    route!(GET "/networks/" => networks::list),
    route!(POST "/networks/create" => networks::create),
    route!(POST "/networks/prune" => networks::prune),
    route!(GET "/networks/{id...}" => networks::inspect),
    route!(DELETE "/networks/{id...}" => networks::remove),
    route!(POST "/networks/{id...}/connect" => networks::connect),
    route!(POST "/networks/{id...}/disconnect" => networks::disconnect),
    //
    route!(GET "/volumes" => volumes::list),
    route!(POST "/volumes/create" => volumes::create),
    route!(POST "/volumes/prune" => volumes::prune),
    route!(GET "/volumes/{name...}" => volumes::inspect),
    route!(PUT "/volumes/{name...}" => swarm::update_volume),
    route!(DELETE "/volumes/{name...}" => volumes::remove),
    //
    route!(GET "/plugins" => plugins::list),
    route!(GET "/plugins/privileges" => plugins::privileges),
    route!(POST "/plugins/pull" => plugins::pull),
    route!(POST "/plugins/create" => plugins::create),
    route!(GET "/plugins/{name...}/json" => plugins::one),
    route!(POST "/plugins/{name...}/enable" => plugins::enable),
    route!(POST "/plugins/{name...}/disable" => plugins::one),
    route!(POST "/plugins/{name...}/push" => plugins::one),
    route!(POST "/plugins/{name...}/set" => plugins::set),
    route!(POST "/plugins/{name...}/upgrade" => plugins::upgrade),
    route!(DELETE "/plugins/{name...}" => plugins::one),
    //
    route!(GET "/swarm" => swarm::ask),
    route!(POST "/swarm/init" => swarm::init),
    route!(POST "/swarm/join" => swarm::join),
    route!(POST "/swarm/leave" => swarm::leave),
    route!(POST "/swarm/unlock" => swarm::create),
    route!(GET "/swarm/unlockkey" => swarm::ask),
    route!(POST "/swarm/update" => swarm::update_swarm),
    route!(GET "/nodes" => swarm::list),
    route!(GET "/nodes/{id}" => swarm::ask),
    route!(DELETE "/nodes/{id}" => swarm::ask),
    route!(POST "/nodes/{id}/update" => swarm::update_node),
    route!(GET "/services" => swarm::list),
    route!(POST "/services/create" => swarm::create),
    route!(GET "/services/{id}" => swarm::inspect_service),
    route!(DELETE "/services/{id}" => swarm::ask),
    route!(POST "/services/{id}/update" => swarm::update_service),
    route!(GET "/services/{id}/logs" => swarm::logs),
    route!(GET "/tasks" => swarm::list),
    route!(GET "/tasks/{id}" => swarm::ask),
    route!(GET "/tasks/{id}/logs" => swarm::logs),
    route!(GET "/secrets" => swarm::list),
    route!(POST "/secrets/create" => swarm::create),
    route!(GET "/secrets/{id}" => swarm::ask),
    route!(DELETE "/secrets/{id}" => swarm::ask),
    route!(POST "/secrets/{id}/update" => swarm::update_secret),
    route!(GET "/configs" => swarm::list),
    route!(POST "/configs/create" => swarm::create),
    route!(GET "/configs/{id}" => swarm::ask),
    route!(DELETE "/configs/{id}" => swarm::ask),
    route!(POST "/configs/{id}/update" => swarm::update_config),
];

#[cfg(test)]
mod tests;
