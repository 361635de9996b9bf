use std::sync::LazyLock;

use clap::{Arg, ArgAction, Command};

use super::declare::TABLE;
use super::{CONFIG_VARIABLE, Setting};

/// The argument of `--config`.
pub(super) const CONFIG_ARGUMENT: &str = "config";

/// Flags live as long as the program: clap keeps references to them.
static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| TABLE.iter().map(Setting::flag).collect());

/// Adds `--config` and a flag for every setting. Values are texts here: [`load`](super::load) judges them with all others.
pub fn augment_clap(command: Command) -> Command {
    let config = Arg::new(CONFIG_ARGUMENT)
        .long("config")
        .value_name("FILE")
        .help(format!("Settings file in TOML [env: {CONFIG_VARIABLE}]"))
        .help_heading("Settings");
    TABLE
        .iter()
        .zip(FLAGS.iter())
        .fold(command.arg(config), |command, (setting, flag)| command.arg(argument(setting, flag)))
}

fn argument(setting: &'static Setting, flag: &'static str) -> Arg {
    let mut help = setting.doc();
    if !setting.unit.is_empty() {
        help.push_str(&format!(" In {}.", setting.unit));
    }
    if !setting.default.is_empty() {
        help.push_str(&format!(" [default: {}]", setting.default));
    }
    help.push_str(&format!(" [env: {}]", setting.variable()));
    let (_, name) = setting.section_and_name();
    let mut argument = Arg::new(setting.key)
        .long(flag)
        .value_name(name)
        .help(help)
        .help_heading("Settings")
        .action(ArgAction::Set)
        .allow_hyphen_values(true)
        // There are too many for `-h`; `--help` has them.
        .hide_short_help(true);
    if let Some(alias) = setting.alias {
        argument = argument.visible_alias(alias).hide_short_help(false);
    }
    if setting.is_switch {
        argument = argument.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    argument
}
