//! What becomes of a frame: where it goes, and what the links on its way do to it.
//!
//! Holds: pure but for the dice; a frame never goes back where it came from. The last byte of a
//! hardware address is the number of its port, from 1.

use std::time::Duration;

use crate::dice::Dice;

/// One direction between two ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) is_cut: bool,
    pub(crate) delay: Duration,
    /// Up to so much more, by chance: frames overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) loss_percent: u64,
}

impl Link {
    pub(crate) const CUT: Self = Self {
        is_cut: true,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_percent: 0,
    };

    /// After how long it arrives; `None`: never.
    fn carry(self, dice: &mut Dice) -> Option<Duration> {
        if self.is_cut || dice.chance(self.loss_percent) {
            return None;
        }
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        Some(self.delay + Duration::from_micros(dice.below(jitter)))
    }
}

/// All links between `ports` ports, and how many frames to one of them they dropped.
#[derive(Debug)]
pub(super) struct Links {
    ports: usize,
    /// By from, then to.
    all: Vec<Link>,
    dropped: u64,
}

impl Links {
    pub(super) fn new(ports: usize) -> Self {
        let all = vec![Link::default(); ports * ports];
        Self {
            ports,
            all,
            dropped: 0,
        }
    }

    pub(super) fn set(&mut self, from: usize, to: usize, link: Link) {
        if let Some(place) = self.all.get_mut(from * self.ports + to) {
            *place = link;
        }
    }

    /// Answers how many frames were dropped.
    pub(super) fn heal(&mut self) -> u64 {
        self.all.fill(Link::default());
        std::mem::take(&mut self.dropped)
    }

    /// To which ports a frame from port `from` comes, and after how long.
    pub(super) fn route(
        &mut self,
        frame: &[u8],
        from: usize,
        dice: &mut Dice,
    ) -> Vec<(usize, Duration)> {
        let mut carried = Vec::new();
        for to in targets(frame, self.ports).filter(|to| *to != from) {
            let link = self.all.get(from * self.ports + to);
            match link.copied().unwrap_or_default().carry(dice) {
                Some(time) => carried.push((to, time)),
                // What is for everybody is the systems' own chatter, not the nodes'.
                None => self.dropped += u64::from(!is_for_all(frame)),
            }
        }
        carried
    }
}

fn is_for_all(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 1)
}

/// One, or all for a frame to everybody.
fn targets(frame: &[u8], ports: usize) -> std::ops::Range<usize> {
    match frame {
        _ if is_for_all(frame) => 0..ports,
        [_, _, _, _, _, last, ..] => match usize::from(*last).checked_sub(1) {
            Some(port) if port < ports => port..port + 1,
            _ => 0..0,
        },
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Link, Links};
    use crate::dice::Dice;

    const TO_TWO: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    const TO_ALL: [u8; 6] = [255; 6];

    fn ports(links: &mut Links, frame: &[u8], from: usize) -> Vec<usize> {
        let carried = links.route(frame, from, &mut Dice::new(1));
        carried.iter().map(|(to, _)| *to).collect()
    }

    #[test]
    fn a_frame_goes_to_the_port_in_its_address_or_to_all_others() {
        let mut links = Links::new(3);
        assert_eq!(ports(&mut links, &TO_TWO, 0), [1]);
        assert_eq!(ports(&mut links, &TO_ALL, 1), [0, 2]);
        assert_eq!(ports(&mut links, &TO_TWO, 1), [0; 0]);
        assert_eq!(ports(&mut links, &[2, 0, 0, 0, 0, 9], 0), [0; 0]);
        assert_eq!(ports(&mut links, &[2], 0), [0; 0]);
        assert_eq!(links.heal(), 0);
    }

    #[test]
    fn a_cut_is_of_one_direction_and_is_counted() {
        let mut links = Links::new(3);
        links.set(0, 1, Link::CUT);
        assert_eq!(ports(&mut links, &TO_TWO, 0), [0; 0]);
        assert_eq!(ports(&mut links, &TO_TWO, 2), [1]);
        assert_eq!(ports(&mut links, &TO_ALL, 0), [2]);
        assert_eq!(links.heal(), 1);
        assert_eq!(ports(&mut links, &TO_TWO, 0), [1]);
    }

    #[test]
    fn loss_takes_its_share_and_delay_its_time() {
        let mut links = Links::new(2);
        let (delay, jitter) = (Duration::from_millis(5), Duration::from_millis(3));
        let link = Link {
            delay,
            jitter,
            loss_percent: 30,
            ..Link::default()
        };
        links.set(0, 1, link);
        let mut dice = Dice::new(7);
        let carried = (0..1000).flat_map(|_| links.route(&TO_TWO, 0, &mut dice));
        let times = carried.map(|(_, time)| time).collect::<Vec<_>>();
        assert!((620..780).contains(&times.len()), "{}", times.len());
        assert!(
            times
                .iter()
                .all(|time| *time >= delay && *time < delay + jitter)
        );
    }
}
