//! How each fault is laid and healed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::client::cluster::ask;
use crate::dice::Dice;
use crate::history::History;
use crate::nemesis::{Fault, Healed, Laid, wal};
use crate::net::Link;
use crate::process::Died;
use crate::process::cluster::Cluster;
use crate::workload::full::filler::Filler;

const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// Two that have lost their tails, without the third, must not choose a leader by themselves.
const HELPLESS_TIME: Duration = Duration::from_secs(6);
/// What a filled disk still has.
const LEFT_BYTES: u64 = 4 << 20;
const TRANSFER_TIME: Duration = Duration::from_secs(20);

impl Laid {
    fn of(words: String) -> Self {
        Self {
            words,
            victim: None,
            old_name: None,
            torn: 0,
            destroyed_behind: None,
            fillers: Vec::new(),
        }
    }

    fn on(node: usize, words: &str) -> Self {
        Self {
            victim: Some(node),
            ..Self::of(format!("{words} node {}", node + 1))
        }
    }
}

impl Fault {
    pub(crate) async fn lay(self, cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
        match self {
            Self::Genesis => anyhow::bail!("genesis is laid on clusters of its own"),
            Self::KillLeader => kill(cluster, Role::Leader, dice).await,
            Self::KillFollower => kill(cluster, Role::Follower, dice).await,
            Self::PauseLeader => pause(cluster, Role::Leader, dice).await,
            Self::PauseFollower => pause(cluster, Role::Follower, dice).await,
            Self::IsolateLeader => cut(cluster, Role::Leader, (true, true), dice).await,
            Self::VanishLeader => vanish(cluster, dice).await,
            Self::MuteLeader => cut(cluster, Role::Leader, (true, false), dice).await,
            Self::DeafLeader => cut(cluster, Role::Leader, (false, true), dice).await,
            Self::MuteFollower => cut(cluster, Role::Follower, (true, false), dice).await,
            Self::Lossy => lossy(cluster),
            Self::KillAll => {
                cluster.kill_all().await?;
                Ok(Laid::of("killed all".to_owned()))
            }
            Self::Rolling => roll(cluster).await,
            Self::Wipe => wipe(cluster, dice).await,
            Self::FlipSealed => flip_sealed(cluster, dice).await,
            Self::FlipTail => flip_tail(cluster, dice).await,
            Self::TearAll => tear(cluster, None, dice).await,
            Self::TearTwo => {
                let third = choose(cluster, Role::Any, dice).await?;
                tear(cluster, Some(third), dice).await
            }
            Self::Fill => fill(cluster).await,
            Self::Clock => clock(cluster, dice).await,
        }
    }

    pub(crate) async fn heal(
        self,
        laid: &Laid,
        cluster: &mut Cluster,
        history: &History,
    ) -> anyhow::Result<Healed> {
        let mut healed = Healed {
            words: "healed".to_owned(),
            from: history.now(),
            dropped: 0,
            wrong: None,
        };
        match self {
            Self::Genesis | Self::Rolling => {}
            Self::PauseLeader | Self::PauseFollower => cluster.resume(victim(laid)?)?,
            Self::IsolateLeader
            | Self::VanishLeader
            | Self::MuteLeader
            | Self::DeafLeader
            | Self::MuteFollower
            | Self::Lossy => {
                healed.dropped = cluster.net.as_ref().context("no network")?.heal();
                healed.words = format!("healed; {} frames were dropped", healed.dropped);
            }
            Self::KillLeader
            | Self::KillFollower
            | Self::KillAll
            | Self::Wipe
            | Self::FlipSealed
            | Self::FlipTail
            | Self::TearAll => healed.words = start_all(cluster).await?,
            Self::TearTwo => {
                let third = victim(laid)?;
                help(cluster, third, &mut healed, history).await?;
            }
            Self::Fill => {
                for filler in &laid.fillers {
                    filler.free()?;
                }
            }
            Self::Clock => {
                let node = victim(laid)?;
                cluster.member_mut(node)?.site.set("CLOCK__OFFSET_MS", None);
                cluster.kill(node).await?;
                healed.words = start_all(cluster).await?;
            }
        }
        Ok(healed)
    }
}

#[derive(Clone, Copy)]
enum Role {
    Leader,
    Follower,
    Any,
}

fn victim(laid: &Laid) -> anyhow::Result<usize> {
    laid.victim.context("a fault on no node")
}

async fn choose(cluster: &Cluster, role: Role, dice: &mut Dice) -> anyhow::Result<usize> {
    let leader = cluster.leader().await?;
    let fit = cluster.numbers().filter(|node| match role {
        Role::Leader => *node == leader,
        Role::Follower => *node != leader,
        Role::Any => true,
    });
    let fit = fit.collect::<Vec<_>>();
    let place = usize::try_from(dice.below(u64::try_from(fit.len())?))?;
    fit.get(place).copied().context("no such node")
}

async fn start_all(cluster: &mut Cluster) -> anyhow::Result<String> {
    let started = Instant::now();
    cluster.start().await?;
    Ok(format!(
        "all ready after {} ms",
        started.elapsed().as_millis()
    ))
}

async fn kill(cluster: &mut Cluster, role: Role, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, role, dice).await?;
    cluster.kill(node).await?;
    Ok(Laid::on(node, "killed"))
}

async fn pause(cluster: &mut Cluster, role: Role, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, role, dice).await?;
    cluster.pause(node).await?;
    Ok(Laid::on(node, "stopped"))
}

/// What it sends, what it is sent.
async fn cut(
    cluster: &Cluster,
    role: Role,
    (out, back): (bool, bool),
    dice: &mut Dice,
) -> anyhow::Result<Laid> {
    let node = choose(cluster, role, dice).await?;
    let net = cluster.net.as_ref().context("needs --net")?;
    for other in cluster.numbers().filter(|other| *other != node) {
        if out {
            net.set(node, other, Link::CUT);
        }
        if back {
            net.set(other, node, Link::CUT);
        }
    }
    Ok(Laid::on(node, "cut off from the other nodes"))
}

async fn vanish(cluster: &Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
    let laid = cut(cluster, Role::Leader, (true, true), dice).await?;
    let net = cluster.net.as_ref().context("needs --net")?;
    let (node, clients) = (victim(&laid)?, net.clients());
    net.set(node, clients, Link::CUT);
    net.set(clients, node, Link::CUT);
    Ok(Laid::on(node, "cut off from everybody"))
}

fn lossy(cluster: &Cluster) -> anyhow::Result<Laid> {
    let net = cluster.net.as_ref().context("needs --net")?;
    let link = Link {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(10),
        loss_percent: 3,
        ..Link::default()
    };
    for from in cluster.numbers() {
        for to in cluster.numbers().filter(|to| *to != from) {
            net.set(from, to, link);
        }
    }
    Ok(Laid::of("2-12 ms late and 3 % lost".to_owned()))
}

async fn roll(cluster: &mut Cluster) -> anyhow::Result<Laid> {
    let mut words = Vec::new();
    for node in cluster.numbers() {
        let started = Instant::now();
        cluster.stop(node).await?;
        let stopped = started.elapsed().as_millis();
        cluster.launch(node)?;
        let ready = cluster.ready(node).await?.as_millis();
        words.push(format!(
            "node {}: stopped in {stopped} ms, ready in {ready}",
            node + 1
        ));
    }
    Ok(Laid::of(words.join("; ")))
}

async fn wipe(cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, Role::Follower, dice).await?;
    let name = cluster.view(node).await?.node;
    cluster.kill(node).await?;
    cluster.member(node)?.site.wipe()?;
    Ok(Laid {
        old_name: Some(name),
        ..Laid::on(node, "killed and wiped")
    })
}

async fn flip_sealed(cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, Role::Any, dice).await?;
    cluster.kill(node).await?;
    let data = cluster.member(node)?.site.data().to_owned();
    let mut damage = wal::flip_sealed(&wal::read(&data)?, dice)?;
    if damage.is_none() {
        // After a start it goes on in a new segment.
        cluster.launch(node)?;
        cluster.ready(node).await?;
        cluster.kill(node).await?;
        damage = wal::flip_sealed(&wal::read(&data)?, dice)?;
    }
    let damage = damage.context("no segment is sealed")?;
    Ok(Laid {
        words: format!("node {}: {}", node + 1, damage.words),
        ..Laid::on(node, "")
    })
}

async fn flip_tail(cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, Role::Any, dice).await?;
    cluster.kill(node).await?;
    let data = cluster.member(node)?.site.data();
    let damage = wal::flip_tail(&wal::read(data)?, dice)?;
    Ok(Laid {
        words: format!("node {}: {}", node + 1, damage.words),
        ..Laid::on(node, "")
    })
}

/// Of all but `spared`, which loses its disk instead.
async fn tear(
    cluster: &mut Cluster,
    spared: Option<usize>,
    dice: &mut Dice,
) -> anyhow::Result<Laid> {
    cluster.kill_all().await?;
    let (mut words, mut end, mut entries) = (Vec::new(), 0, 0);
    for node in cluster.numbers() {
        let site = &cluster.member(node)?.site;
        if spared == Some(node) {
            site.wipe()?;
            words.push(format!("node {} wiped", node + 1));
            continue;
        }
        let damage = wal::tear(&wal::read(site.data())?, dice)?;
        end = end.max(damage.end);
        entries += damage.entries;
        words.push(format!("node {}: {}", node + 1, damage.words));
    }
    Ok(Laid {
        victim: spared,
        torn: entries,
        destroyed_behind: Some(end),
        ..Laid::of(words.join("; "))
    })
}

/// Two with torn tails: they must say that they wait, and lead when an operator takes the loss on
/// himself. Then the third comes back empty.
async fn help(
    cluster: &mut Cluster,
    third: usize,
    healed: &mut Healed,
    history: &History,
) -> anyhow::Result<()> {
    let two = cluster.numbers().filter(|node| *node != third);
    let two = two.collect::<Vec<_>>();
    for node in &two {
        cluster.launch(*node)?;
    }
    for node in &two {
        cluster.until(*node, "/livez").await?;
    }
    let end = Instant::now() + HELPLESS_TIME;
    let mut led = false;
    while Instant::now() < end {
        for node in &two {
            let view = cluster.view(*node).await;
            led |= view.is_ok_and(|view| view.role == "leader");
        }
        sleep(Duration::from_millis(200)).await;
    }
    let token = cluster.token()?;
    let first = *two.first().context("no nodes")?;
    let mut client = Client::new(cluster.member(first)?.site.http);
    let asked = ask(&mut client, &token, "accept-tail-loss", &json!({})).await;
    healed.from = history.now();
    for node in &two {
        cluster.ready(*node).await?;
    }
    cluster.launch(third)?;
    let back = cluster.ready(third).await?.as_millis();
    let seconds = HELPLESS_TIME.as_secs();
    let alone = if led { "led by themselves" } else { "waited" };
    healed.wrong = match &asked {
        _ if led => Some("two that lost their tails led without the third, and unasked".to_owned()),
        Ok(_) => None,
        Err(error) => Some(format!("{error:#}")),
    };
    let told = asked.unwrap_or_else(|error| format!("{error:#}"));
    healed.words = format!(
        "two {alone} for {seconds} s; accept-tail-loss: {told}; the third ready after {back} ms"
    );
    Ok(())
}

async fn fill(cluster: &Cluster) -> anyhow::Result<Laid> {
    let leader = cluster.leader().await?;
    let mut fillers = Vec::new();
    for node in cluster.numbers().filter(|node| *node != leader).take(2) {
        let filler = Filler::new(cluster.member(node)?.site.disk()?.root(), LEFT_BYTES);
        filler.fill()?;
        fillers.push(filler);
    }
    ensure!(fillers.len() == 2, "fewer than two followers");
    Ok(Laid {
        fillers,
        ..Laid::of(format!("filled the disks of all but node {}", leader + 1))
    })
}

async fn clock(cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<Laid> {
    let node = choose(cluster, Role::Follower, dice).await?;
    let site = &mut cluster.member_mut(node)?.site;
    site.set("CLOCK__OFFSET_MS", Some(YEAR_MS.to_string()));
    cluster.kill(node).await?;
    cluster.launch(node)?;
    cluster.ready(node).await?;
    lead(cluster, node).await?;
    Ok(Laid::on(node, "a year ahead and leading:"))
}

/// Asks for it until it does: a node that has just come back may not have all yet.
async fn lead(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    let (end, token) = (Instant::now() + TRANSFER_TIME, cluster.token()?);
    let mut client = Client::new(cluster.member(node)?.site.http);
    let mut told = Ok(String::new());
    while Instant::now() < end {
        if cluster.leader().await? == node {
            return Ok(());
        }
        let to = json!({"to": cluster.view(node).await?.node});
        told = ask(&mut client, &token, "transfer", &to).await;
        sleep(Duration::from_millis(300)).await;
    }
    let number = node + 1;
    Err(Died(format!("node {number} does not get to lead: {told:?}")).into())
}
