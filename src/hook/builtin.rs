//! The hooks that come with bk, each with the common beginning in front.

/// `hooks/NAME` behind `hooks/prelude.sh`.
macro_rules! hooks {
    ($($name:literal),* $(,)?) => {
        &[$(($name, concat!(include_str!("../../hooks/prelude.sh"), include_str!(concat!("../../hooks/", $name))))),*]
    };
}

/// Name and text of each.
pub const BUILT_IN: &[(&str, &str)] = hooks![
    "btrfs",
    "command",
    "container",
    "gitea",
    "influxdb",
    "libvirt",
    "lvm",
    "mariadb",
    "nextcloud",
    "postgres",
    "prometheus",
    "redis",
    "service",
    "zfs",
];
