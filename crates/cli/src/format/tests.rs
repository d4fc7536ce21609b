//! Templates and the values they show.

use super::*;

fn document() -> Document {
    let text = r#"{"Name":"/web","State":{"Status":"running","Pid":7,"Health":null},
        "Config":{"Labels":{"a":"b"},"Env":["X=1","Y=2"],"Volumes":null,"Entrypoint":null},
        "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":null}}}"#;
    Document::new(&serde_json::from_str(text).unwrap())
}

fn shown(source: &str) -> String {
    Format::new(source).and_then(|format| format.render(&document())).unwrap_or_else(|reason| reason)
}

#[test]
fn what_users_of_inspect_write() {
    for (source, expected) in [
        ("{{.State.Status}} {{.State.Pid}}", "running 7"),
        ("{{.Name | printf \"%s!\"}}", "/web!"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "X=1\nY=2\n"),
        ("{{index .Config.Labels \"a\"}}|{{index .Config.Labels \"b\"}}", "b|"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{$p}} {{len $c}};{{end}}", "80/tcp 1;81/tcp 0;"),
        ("{{if .State.Health}}x{{else}}none{{end}}", "none"),
        ("{{join .Config.Env \",\"}} {{len .Config.Env}}", "X=1,Y=2 2"),
        ("{{upper \"a\"}}{{lower \"B\"}}{{title \"ab cd\"}}", "AbAb Cd"),
        ("{{truncate .Name 3}}|{{pad \"x\" 1 2}}|{{index (split \"a:b\" \":\") 1}}", "/we| x  |b"),
        ("{{.Config.Entrypoint}}{{.Config.Volumes}}", "[]map[]"),
        ("{{.Config.Labels.a}} {{.Config.Labels.nope}}", "b <no value>"),
        ("{{if .Config.Healthcheck}}x{{end}}{{.Config.StopSignal}}|{{len .Config.ExposedPorts}}", "|0"),
    ] {
        assert_eq!(shown(source), expected, "{source}");
    }
}

#[test]
fn json_is_the_daemons() {
    assert_eq!(shown("{{json .State}}"), r#"{"Status":"running","Pid":7,"Health":null}"#);
    assert_eq!(shown("{{json .Config.Env}} {{json .Name}}"), r#"["X=1","Y=2"] "/web""#);
    assert_eq!(shown("{{json .Config.Volumes}}"), "null");
    assert!(shown("json").starts_with(r#"{"Name":"/web","State":"#));
}

#[test]
fn a_missing_member_and_a_broken_template_are_told() {
    for source in ["{{.Nope}}", "{{.State.Nope}}", "{{", "{{nope}}"] {
        assert!(shown(source).starts_with("template: :1:"), "{source}: {}", shown(source));
    }
    let told = "template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"";
    assert_eq!(shown("{{.Nope}}"), told);
}
