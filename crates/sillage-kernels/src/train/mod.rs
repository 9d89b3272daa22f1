//! What training needs beyond inference: dense f32 products and the forward and
//! backward passes of every block.
//!
//! All arrays are row-major, a row a token. `lens` lists the lengths of the
//! sequences that lie one behind the other in those rows; no state, tap or
//! score reaches from one into the next. Work is cut into pieces by shapes
//! alone and sums over pieces are taken in one order, so results are the same
//! bits for any number of threads.
//!
//! A forward pass that a backward pass follows writes what that will need into
//! buffers the caller owns. Gradients of activations are **written**, gradients
//! of parameters are **added** to what is there.

pub mod attention;
#[cfg(test)]
mod checks;
pub mod conv;
pub mod elementwise;
pub mod embedding;
pub mod gemm;
pub mod loss;
pub mod norm;
pub mod optimiser;
mod pieces;
pub mod rope;
pub mod selective;
pub mod ssd;

pub use attention::{
    AttentionDims, attention_backward, attention_backward_fused, attention_forward,
};
pub use conv::{ConvShape, conv_backward, conv_forward};
pub use elementwise::{
    activate_backward, activate_forward, gated_backward, gated_forward, softplus_backward,
    softplus_forward, sum_rows,
};
pub use embedding::{embed_backward, embed_forward};
pub use gemm::{Onto, View, gemm, gemm_here};
pub use loss::{IGNORED, cross_entropy, cross_entropy_forward};
pub use norm::{
    GatedShape, gated_rms_backward, gated_rms_forward, layer_norm_backward, layer_norm_forward,
    rms_backward, rms_forward,
};
pub use optimiser::{AdamW, adamw, sum_squares};
pub use rope::rope_backward;
pub use selective::{SelectiveDims, SelectiveSaved, selective_backward, selective_forward};
pub use ssd::{SsdDims, SsdSaved, ssd_backward, ssd_forward};
