//! The cases by name.

mod delivery;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::world::World;

type Case = fn(Arc<World>) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every case.
        pub(crate) const ALL: &[(&str, Case)] = &[
            $((stringify!($name), |world| async move { $module::$name(&world).await }.boxed())),*
        ];
    };
}

cases! {
    delivery::records_and_cursor_arrive_together,
    delivery::the_sink_keeps_the_contract,
}
