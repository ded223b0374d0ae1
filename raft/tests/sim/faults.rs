//! What goes wrong, by the seed, and what must hold while it does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::dice::Dice;
use crate::driver::WELL;
use crate::judge::judge;
use crate::net::NEAR;
use crate::world::{End, PLACES, World};

/// A new leader takes submissions after this time.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// What a disk that was replaced takes to be a member again, and a node to catch up.
const CATCH_UP_MAX: Duration = Duration::from_mins(1);

/// A whole life of the cluster.
pub async fn play(world: &Arc<World>, mut dice: Dice) {
    for at in 0..PLACES {
        world.start(at);
    }
    if !world.settled(Duration::from_secs(30)).await {
        return world.ledger.wrong("no cluster is founded".to_owned());
    }
    let episodes = dice.between(3, 8);
    for _ in 0..episodes {
        let time = dice.ms(200, 4000);
        world.sleep(time).await;
        episode(world, &mut dice).await;
        if world.ledger.is_wrong() {
            return world.tell();
        }
    }
    finish(world).await;
    if world.ledger.is_wrong() {
        world.tell();
    }
}

async fn episode(world: &Arc<World>, dice: &mut Dice) {
    match dice.between(0, 16) {
        0 | 1 => lose_leader(world, dice).await,
        2 => {
            let at = dice.pick(PLACES);
            end(world, dice, at).await;
            pause(world, dice).await;
            world.start(at);
        }
        3 => {
            let spared = dice.pick(PLACES);
            for at in (0..PLACES).filter(|at| *at != spared) {
                end(world, dice, at).await;
            }
            pause(world, dice).await;
            start_all(world, dice).await;
        }
        4 | 5 => {
            world.trace.say(format_args!("the power goes everywhere"));
            let is_torn = dice.chance(60);
            let how = if is_torn {
                End::TornPowerCut
            } else {
                End::PowerCut
            };
            let ends = (0..PLACES).map(|at| world.end(at, how));
            futures::future::join_all(ends).await;
            pause(world, dice).await;
            start_all(world, dice).await;
        }
        6 | 7 => partition(world, dice).await,
        8 => slow_disk(world, dice).await,
        9 => {
            world.trace.say(format_args!("the network is slow"));
            world.net.set_latency((20, 400));
            let time = dice.ms(2000, 8000);
            world.sleep(time).await;
            world.net.set_latency(NEAR);
        }
        10 => {
            let at = dice.pick(PLACES);
            world.trace.say(format_args!("streams of n{at} break"));
            world.net.break_streams(at);
        }
        11 => {
            let at = dice.pick(PLACES);
            world.stop(at).await;
            pause(world, dice).await;
            world.start(at);
        }
        12 => replace_disk(world, dice).await,
        13 => election_in_the_dark(world, dice).await,
        _ => lying_disk(world, dice).await,
    }
}

async fn pause(world: &World, dice: &mut Dice) {
    let time = dice.ms(0, 6000);
    world.sleep(time).await;
}

async fn end(world: &World, dice: &mut Dice, at: usize) {
    let how = match dice.between(0, 3) {
        0 => End::Kill,
        1 => End::PowerCut,
        _ => End::TornPowerCut,
    };
    world.end(at, how).await;
}

/// Whoever is down comes up, at different times.
async fn start_all(world: &Arc<World>, dice: &mut Dice) {
    for at in 0..PLACES {
        if !world.is_up(at) {
            world.start(at);
            let time = dice.ms(0, 3000);
            world.sleep(time).await;
        }
    }
}

/// All is well, and has been for a while.
async fn peace(world: &Arc<World>, dice: &mut Dice) -> bool {
    heal(world, dice.chance(50));
    start_all(world, dice).await;
    if !world.settled(CATCH_UP_MAX).await || !level(world).await {
        world.ledger.wrong("no peace".to_owned());
        return false;
    }
    true
}

/// Everybody is a voter and has what the others have, about.
async fn level(world: &Arc<World>) -> bool {
    let is_level = || {
        let statuses: Vec<_> = world
            .nodes()
            .iter()
            .map(|(_, node)| node.status())
            .collect();
        let most = statuses
            .iter()
            .map(|status| status.applied.0)
            .max()
            .unwrap_or(0);
        let are_voters = |status: &raft::Status| {
            status.members.len() == PLACES && usize::from(status.voters.count) == PLACES
        };
        statuses.len() == PLACES
            && statuses
                .iter()
                .all(|status| are_voters(status) && most < status.applied.0 + 50)
            && world
                .nodes()
                .iter()
                .all(|(_, node)| node.wal().floor().is_none())
    };
    world.wait(CATCH_UP_MAX, is_level).await
}

fn heal(world: &World, breaks: bool) {
    world.net.heal(breaks);
    world.net.set_latency(NEAR);
    for at in 0..PLACES {
        world.paces.set(at, WELL);
    }
}

/// The leader goes, all else is well: the others go on within the time that is promised.
async fn lose_leader(world: &Arc<World>, dice: &mut Dice) {
    if !peace(world, dice).await {
        return;
    }
    let Some(lost) = world.leader() else {
        return;
    };
    world.trace.say(format_args!("the leader n{lost} is lost"));
    let is_cut = dice.chance(40);
    let since = world.trace.elapsed();
    if is_cut {
        for other in (0..PLACES).filter(|other| *other != lost) {
            world.net.cut(lost, other);
            world.net.cut(other, lost);
        }
    } else {
        let how = if dice.chance(50) {
            End::Kill
        } else {
            End::PowerCut
        };
        world.end(lost, how).await;
    }
    // What was under way is answered at once or not at all.
    let from = since + Duration::from_millis(300);
    let goes_on = || world.ledger.first_ack(from, |at| at != lost).is_some();
    world.wait(LEADERLESS_MAX * 2, goes_on).await;
    match world.ledger.first_ack(from, |at| at != lost) {
        Some(at) if at <= since + LEADERLESS_MAX => {
            let ms = at.saturating_sub(since).as_millis();
            world.trace.say(format_args!("it went on after {ms} ms"));
        }
        late if !world.ledger.is_wrong() => {
            let late = late.map(|at| at.saturating_sub(since));
            world.ledger.wrong(format!(
                "after the loss of a leader it went on after {late:?}"
            ));
        }
        _ => {}
    }
    pause(world, dice).await;
    world.net.heal(dice.chance(50));
    start_all(world, dice).await;
}

async fn partition(world: &Arc<World>, dice: &mut Dice) {
    let alone = dice.pick(PLACES);
    let kind = dice.between(0, 4);
    for other in (0..PLACES).filter(|other| *other != alone) {
        if kind != 1 {
            world.net.cut(alone, other);
        }
        if kind != 2 {
            world.net.cut(other, alone);
        }
    }
    if kind == 3 {
        let other = (alone + 1) % PLACES;
        world.net.heal(false);
        world.net.cut(alone, other);
        world.net.cut(other, alone);
    }
    world
        .trace
        .say(format_args!("n{alone} is cut off, kind {kind}"));
    let time = dice.ms(500, 12_000);
    world.sleep(time).await;
    if dice.chance(30) {
        let at = dice.pick(PLACES);
        end(world, dice, at).await;
    }
    let breaks = dice.chance(50);
    world.trace.say(format_args!("the network is whole again"));
    world.net.heal(breaks);
    start_all(world, dice).await;
}

async fn slow_disk(world: &Arc<World>, dice: &mut Dice) {
    let at = dice.pick(PLACES);
    world.trace.say(format_args!("the disk of n{at} is slow"));
    world.paces.set(at, (500, 3000));
    let time = dice.ms(2000, 15_000);
    world.sleep(time).await;
    if dice.chance(50) {
        end(world, dice, at).await;
    }
    world.paces.set(at, WELL);
    start_all(world, dice).await;
}

/// Somebody votes, and loses power with a slow disk while doing so.
async fn election_in_the_dark(world: &Arc<World>, dice: &mut Dice) {
    world.trace.say(format_args!("an election with slow disks"));
    let Some(leader) = world.leader() else {
        return;
    };
    for at in 0..PLACES {
        world.paces.set(at, (50, 900));
    }
    for other in (0..PLACES).filter(|other| *other != leader) {
        world.net.cut(leader, other);
        world.net.cut(other, leader);
    }
    let time = dice.ms(1500, 4500);
    world.sleep(time).await;
    let at = (leader + 1 + dice.pick(2)) % PLACES;
    end(world, dice, at).await;
    world.net.heal(dice.chance(50));
    let time = dice.ms(0, 500);
    world.sleep(time).await;
    start_all(world, dice).await;
    for at in 0..PLACES {
        world.paces.set(at, WELL);
    }
}

/// A disk loses what it had said to be durable: the last write before the power went. One other node
/// has it, and goes; the third never had it. What was acknowledged stays all the same.
async fn lying_disk(world: &Arc<World>, dice: &mut Dice) {
    if !peace(world, dice).await {
        return;
    }
    let Some(leader) = world.leader() else {
        return;
    };
    let (liar, behind) = if dice.chance(50) {
        ((leader + 1) % PLACES, (leader + 2) % PLACES)
    } else {
        ((leader + 2) % PLACES, (leader + 1) % PLACES)
    };
    world
        .trace
        .say(format_args!("n{behind} falls behind, n{liar} lies"));
    for other in [leader, liar] {
        world.net.cut(other, behind);
        world.net.cut(behind, other);
    }
    // A purge whose record is lost leaves a log without its beginning, which is refused: not looked at
    // here.
    world.keeps_all.store(true, Ordering::Relaxed);
    let time = dice.ms(200, 1200);
    world.sleep(time).await;
    let end = world.end_of_log(liar);
    world.end(liar, End::PowerCut).await;
    world.damage(liar, end);
    for other in [liar, behind] {
        world.net.cut(leader, other);
        world.net.cut(other, leader);
    }
    world.net.mend(liar, behind);
    let time = dice.ms(0, 500);
    world.sleep(time).await;
    world.start(liar);
    let time = dice.ms(3000, 12_000);
    world.sleep(time).await;
    world.trace.say(format_args!("n{leader} is back"));
    world.net.heal(dice.chance(50));
    world.keeps_all.store(false, Ordering::Relaxed);
    peace(world, dice).await;
}

/// A place gets an empty disk and joins as somebody else.
async fn replace_disk(world: &Arc<World>, dice: &mut Dice) {
    if !peace(world, dice).await {
        return;
    }
    let at = dice.pick(PLACES);
    end(world, dice, at).await;
    world.wipe(at);
    pause(world, dice).await;
    world.start(at);
    if dice.chance(60) {
        peace(world, dice).await;
    }
}

/// All is healed: a leader soon, submissions go on, and in the end everybody has the same.
async fn finish(world: &Arc<World>) {
    heal(world, false);
    for at in 0..PLACES {
        if !world.is_up(at) {
            world.start(at);
        }
    }
    world.trace.say(format_args!("all is healed"));
    let run = || (0..PLACES).all(|at| world.node(at).is_some());
    if !world.wait(CATCH_UP_MAX, run).await {
        return world.ledger.wrong("a node does not start".to_owned());
    }
    let since = world.trace.elapsed();
    let goes_on = || world.ledger.first_ack(since, |_| true).is_some();
    if !world.wait(LEADERLESS_MAX, goes_on).await {
        return world.ledger.wrong(format!(
            "nothing is taken {LEADERLESS_MAX:?} after all was healed"
        ));
    }
    if !world.settled(CATCH_UP_MAX).await || !level(world).await {
        return world
            .ledger
            .wrong("the nodes do not come together".to_owned());
    }
    world.sleep(Duration::from_secs(2)).await;
    world.trace.say(format_args!("no more is submitted"));
    world.quiet.cancel();
    world.sleep(Duration::from_secs(15)).await;
    let is_equal = || {
        let nodes = world.nodes();
        let statuses: Vec<_> = nodes.iter().map(|(_, node)| node.status()).collect();
        statuses
            .iter()
            .all(|status| status.applied == statuses[0].applied && status.applied == status.last)
    };
    if !world.wait(CATCH_UP_MAX, is_equal).await {
        return world
            .ledger
            .wrong("the nodes do not become equal".to_owned());
    }
    judge(&world.ledger, &world.nodes());
    let inner = world.ledger.lock();
    let (acked, packs) = (inner.acked.len(), inner.acks.len());
    drop(inner);
    world.trace.say(format_args!(
        "{acked} submissions acknowledged in {packs} packs"
    ));
}
