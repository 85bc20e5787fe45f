//! What happens to a world in the course of some minutes.

use std::fmt;

use ksail::manifest::{State, VolumePolicy};
use proptest::prelude::*;
use proptest::sample::Index;

use super::programs::Behaviour;
use crate::nodes::{NodeDrift, node_drifts};
use crate::world::{Drift, Entry, drifts, entries};

/// The mirror that nothing goes wrong with, where there is one.
pub(super) const FAVOURITE: &str = "registry.k8s.io";
const PORT_OF_FAVOURITE: u16 = 5009;

#[derive(Clone)]
pub(super) struct Script {
    pub(super) has_favourite: bool,
    /// ksail creates and deletes the cluster.
    pub(super) is_managed: bool,
    /// Nodes that are there to begin with.
    pub(super) nodes: usize,
    pub(super) first: Asked,
    /// Each after a pause, in milliseconds.
    pub(super) steps: Vec<(u64, Happening)>,
    pub(super) last: Asked,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { has_favourite, is_managed, nodes, .. } = self;
        writeln!(f, "favourite: {has_favourite}, managed: {is_managed}, nodes: {nodes}")?;
        writeln!(f, "first {:?}", self.first)?;
        for (pause, happening) in &self.steps {
            writeln!(f, "{pause:>6} ms, then {happening:?}")?;
        }
        write!(f, "last {:?}", self.last)
    }
}

/// What the file says.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) entries: Vec<Entry>,
    pub(super) state: State,
    pub(super) volume_policy: VolumePolicy,
}

#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// The file is saved.
    Edit(Asked),
    /// Somebody says that this is so, and may be done at once.
    Say(Asked),
    /// The file is saved, and does not load.
    Spoil,
    Drift(Drift),
    Node(NodeDrift),
    KillFavourite,
    /// For so many seconds.
    Trouble(Trouble, u64),
}

/// What goes wrong for a while.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// Calls are refused.
    Refused(Struck, Refusal),
    /// Calls take effect, and their answers do not arrive.
    Lost(Struck, Refusal),
    /// Calls take so many milliseconds.
    Late(Struck, u64),
    /// Inspects of a mirror's containers say what is not so.
    Lies(Index, Lie),
    /// A registry does not answer, however often it is started.
    Mute(Index),
    /// A registry ends as soon as it is started.
    Crashes(Index),
    /// A registry ends some milliseconds after it was started, again and again.
    Dies(Index, u64),
    Away,
    EventsLost,
    EventsDoubled,
    /// By so many milliseconds.
    EventsLate(u64),
    EventsRefused,
    /// Again and again, after so many milliseconds.
    EventsEnd(u64),
    /// Of strangers: so many every ten milliseconds.
    Flood(usize),
    /// Of a mirror or a node: every five milliseconds.
    Chatter(Index),
    /// Some process takes the port of a mirror.
    PortHeld(Index),
    /// Somebody's container takes the port of a mirror, if it is to be had.
    PortPublished(Index),
    /// Somebody's container takes the name of a mirror's container, if it is to be had.
    NameTaken(Index),
    Program(Behaviour),
}

/// Which calls something strikes.
#[derive(Debug, Clone)]
pub(super) struct Struck {
    pub(super) whose: Whose,
    /// All of them, where there is none.
    pub(super) call: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) enum Whose {
    Mirror(Index),
    Node(Index),
    Everybody,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// 500, with some message.
    Error,
    /// The connection is cut off.
    CutOff,
    Timeout,
    NotFound,
    Conflict,
}

/// What is said of a container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lie {
    Image,
    RestartPolicy,
    Environment,
    Alone,
    Stopped,
    NoMounts,
}

impl Trouble {
    /// Whether it concerns everybody.
    pub(super) fn is_global(&self) -> bool {
        match self {
            Self::Refused(struck, _) | Self::Lost(struck, _) | Self::Late(struck, _) => {
                matches!(struck.whose, Whose::Everybody)
            }
            Self::Away | Self::EventsRefused | Self::EventsEnd(_) => true,
            _ => false,
        }
    }

    /// Whether it may keep the engine from telling what happens, though it answers.
    pub(super) fn refuses_events(&self) -> bool {
        match self {
            Self::Refused(struck, _) | Self::Lost(struck, _) => struck.call.is_none_or(|call| call == "events"),
            Self::EventsRefused => true,
            _ => false,
        }
    }
}

const CALLS_OF_ONE: [&str; 16] = [
    "inspect_container",
    "create_container",
    "start_container",
    "stop_container",
    "restart_container",
    "remove_container",
    "rename_container",
    "update_restart_policy",
    "connect_network",
    "disconnect_network",
    "put_archive",
    "get_archive",
    "stat_path",
    "exec",
    "create_volume",
    "remove_volume",
];
const CALLS_OF_ALL: [&str; 9] = [
    "list_containers",
    "list_networks",
    "list_volumes",
    "inspect_image",
    "inspect_volume",
    "pull_image",
    "info",
    "events",
    "logs",
];

fn struck() -> impl Strategy<Value = Struck> {
    let whose = prop_oneof![
        3 => any::<Index>().prop_map(Whose::Mirror),
        2 => any::<Index>().prop_map(Whose::Node),
    ];
    let of_one = (whose, prop::option::weighted(0.8, prop::sample::select(&CALLS_OF_ONE[..])));
    let of_all = [&CALLS_OF_ONE[..], &CALLS_OF_ALL[..]].concat();
    prop_oneof![
        3 => of_one.prop_map(|(whose, call)| Struck { whose, call }),
        1 => prop::option::weighted(0.9, prop::sample::select(of_all))
            .prop_map(|call| Struck { whose: Whose::Everybody, call }),
    ]
}

fn troubles() -> impl Strategy<Value = Trouble> {
    use Trouble::*;
    let refusals = || {
        use Refusal::*;
        prop::sample::select(vec![Error, Error, CutOff, Timeout, NotFound, Conflict])
    };
    let lies = {
        use Lie::*;
        prop::sample::select(vec![Image, RestartPolicy, Environment, Alone, Stopped, NoMounts])
    };
    let behaviours = {
        use Behaviour::*;
        prop::sample::select(vec![FailsHalfWay, FailsAtOnce, MakesNothing, DoesNotDelete, TakesLong])
    };
    prop_oneof![
        4 => (struck(), refusals()).prop_map(|(struck, how)| Refused(struck, how)),
        3 => (struck(), refusals()).prop_map(|(struck, how)| Lost(struck, how)),
        3 => (struck(), 10u64..20_000).prop_map(|(struck, by)| Late(struck, by)),
        3 => (any::<Index>(), lies).prop_map(|(whose, lie)| Lies(whose, lie)),
        2 => any::<Index>().prop_map(Mute),
        2 => any::<Index>().prop_map(Crashes),
        3 => (any::<Index>(), 1u64..3_000).prop_map(|(whose, after)| Dies(whose, after)),
        1 => Just(Away),
        1 => Just(EventsLost),
        1 => Just(EventsDoubled),
        1 => (1u64..5_000).prop_map(EventsLate),
        1 => Just(EventsRefused),
        1 => (1u64..2_000).prop_map(EventsEnd),
        1 => (1usize..30).prop_map(Flood),
        1 => any::<Index>().prop_map(Chatter),
        1 => any::<Index>().prop_map(PortHeld),
        1 => any::<Index>().prop_map(PortPublished),
        1 => any::<Index>().prop_map(NameTaken),
        2 => behaviours.prop_map(Program),
    ]
}

fn asked(has_favourite: bool) -> impl Strategy<Value = Asked> {
    let state = prop_oneof![6 => Just(State::Present), 1 => Just(State::Absent), 1 => Just(State::Purged)];
    let volume_policy = prop::sample::select(vec![VolumePolicy::Retain, VolumePolicy::Delete]);
    (entries(), state, volume_policy).prop_map(move |(mut entries, state, volume_policy)| {
        if has_favourite {
            entries.insert(0, Entry::plain(FAVOURITE, PORT_OF_FAVOURITE));
        }
        Asked { entries, state, volume_policy }
    })
}

fn happenings(has_favourite: bool) -> impl Strategy<Value = Happening> {
    let length = prop_oneof![2 => 1u64..10, 1 => 10u64..120];
    prop_oneof![
        3 => asked(has_favourite).prop_map(Happening::Edit),
        1 => asked(has_favourite).prop_map(Happening::Say),
        1 => Just(Happening::Spoil),
        3 => drifts().prop_map(Happening::Drift),
        3 => node_drifts().prop_map(Happening::Node),
        u32::from(has_favourite) * 4 => Just(Happening::KillFavourite),
        8 => (troubles(), length).prop_map(|(trouble, seconds)| Happening::Trouble(trouble, seconds)),
    ]
}

pub(super) fn scripts() -> impl Strategy<Value = Script> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(has_favourite, is_managed)| {
        let pause = prop_oneof![1 => Just(0u64), 3 => 1u64..2_000, 2 => 2_000u64..15_000];
        let steps = prop::collection::vec((pause, happenings(has_favourite)), 1..16);
        (0usize..3, asked(has_favourite), steps, asked(has_favourite)).prop_map(move |(nodes, first, steps, last)| {
            let nodes = if is_managed { 0 } else { nodes };
            Script { has_favourite, is_managed, nodes, first, steps, last }
        })
    })
}
