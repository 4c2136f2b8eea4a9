//! The two forms that every module here is written in: a table of constants, and structures shared with user space.

/// Constants of one type: `consts! { u32; NAME = value, … }`.
macro_rules! consts {
    ($ty:ty; $($(#[$meta:meta])* $name:ident = $value:expr),* $(,)?) => {
        $($(#[$meta])* pub const $name: $ty = $value;)*
    };
}

/// Structures as user space lays them out: `repr(C)`, any byte pattern valid, no implicit padding, all zero by default.
macro_rules! uapi {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty),* $(,)? })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(
                zerocopy::FromBytes,
                zerocopy::IntoBytes,
                zerocopy::Immutable,
                zerocopy::KnownLayout,
                Clone,
                Copy,
                PartialEq,
                Eq,
                Debug,
            )]
            pub struct $name { $($(#[$fmeta])* pub $field: $ty),* }

            impl Default for $name {
                fn default() -> Self {
                    zerocopy::FromZeros::new_zeroed()
                }
            }
        )*
    };
}
