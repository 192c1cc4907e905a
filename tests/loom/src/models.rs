//! What has to hold, whatever the order.

mod front;
mod hub;
mod mesh;

pub type Model = fn();

pub const ALL: &[(&str, Model)] = &[
    ("no_wake_up_is_lost", mesh::no_wake_up_is_lost),
    ("nothing_overtakes_the_overflow_list", mesh::nothing_overtakes_the_overflow_list),
    ("an_ended_node_is_not_waited_for", mesh::an_ended_node_is_not_waited_for),
    ("a_stale_route_is_not_believed", hub::a_stale_route_is_not_believed),
    ("a_late_close_does_not_remove_the_successor", hub::a_late_close_does_not_remove_the_successor),
    ("every_departure_is_told", hub::every_departure_is_told),
    ("the_front_hears_of_everything_posted", front::the_front_hears_of_everything_posted),
];
