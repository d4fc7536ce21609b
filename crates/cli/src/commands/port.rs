//! `hull port`.

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;
use hull_api::wire::container::ContainerInspect;
use hull_api::wire::network::PortBinding;

command! {
    names: ["container port", "port"], about: "Show where a container's ports are published",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]", operands: Operands::Between(1, 2), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let container: ContainerInspect = client.get(["containers", &operands[0], "json"]).read().await?;
    let ports = &container.network_settings.ports;
    let Some(asked) = operands.get(1) else {
        let mut lines: Vec<String> = ports
            .iter()
            .flat_map(|(port, list)| {
                list.iter().flatten().map(move |at| format!("{port} -> {}", address(at)))
            })
            .collect();
        lines.sort_by_key(|line| line.split('/').next().and_then(|port| port.parse::<u16>().ok()));
        lines.iter().try_for_each(|line| output::line(line))?;
        return Ok(DONE);
    };
    let key = if asked.contains('/') { asked.clone() } else { format!("{asked}/tcp") };
    match ports.get(&key) {
        Some(Some(list)) => {
            list.iter().try_for_each(|at| output::line(&address(at)))?;
            Ok(DONE)
        }
        _ => Err(Complaint::new(format!("Error: No public port '{asked}' published for {}", operands[0]))),
    }
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
