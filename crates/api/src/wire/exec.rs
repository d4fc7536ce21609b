//! Processes started in a running container.

use super::{wire, zero};

wire! {
    /// The body of `/containers/{id}/exec`.
    pub struct ExecCreateRequest {
        user: String,
        privileged: bool,
        tty: bool,
        /// Rows, columns.
        #[serde(skip_serializing_if = "zero")]
        console_size: Option<[u32; 2]>,
        attach_stdin: bool,
        attach_stderr: bool,
        attach_stdout: bool,
        detach_keys: String,
        env: Option<Vec<String>>,
        working_dir: String,
        cmd: Option<Vec<String>>,
    }
}

wire! {
    /// The body of `/exec/{id}/start`.
    pub struct ExecStartRequest {
        detach: bool,
        tty: bool,
        #[serde(skip_serializing_if = "zero")]
        console_size: Option<[u32; 2]>,
    }
}

wire! {
    /// The answer of `/exec/{id}/json`.
    pub struct ExecInspect {
        #[serde(rename = "ID")]
        id: String,
        running: bool,
        /// `null` until it ended.
        exit_code: Option<i64>,
        process_config: ExecProcess,
        open_stdin: bool,
        open_stderr: bool,
        open_stdout: bool,
        can_remove: bool,
        #[serde(rename = "ContainerID")]
        container_id: String,
        /// Base64 of the key bytes.
        detach_keys: String,
        pid: i64,
    }
}

wire! { snake_case
    /// What an exec runs.
    pub struct ExecProcess {
        tty: bool,
        entrypoint: String,
        arguments: Vec<String>,
        privileged: Option<bool>,
        #[serde(skip_serializing_if = "zero")]
        user: String,
    }
}
