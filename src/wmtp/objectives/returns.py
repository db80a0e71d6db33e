"""TD errors and lambda-returns, without a loop over tokens or rows.

Shapes: B batch, T sequence. State s_t is the prefix up to and including token t; response tokens are
prompt_len .. length-1; the reward comes with the last of them.
"""

from __future__ import annotations

import torch


def discounted_suffix_sum(deltas_BT: torch.Tensor, coefs_BT: torch.Tensor) -> torch.Tensor:
    """`A_t = delta_t + coef_t * A_{t+1}` for every t, in log2(T) steps.

    Args:
        deltas_BT: increments; computed in float64.
        coefs_BT: the factor that carries A_{t+1} into A_t; 0 cuts the chain.
    Returns:
        A_BT, float64.
    Source: Hillis and Steele 1986 (parallel scan); Schulman et al. 2015, arXiv 1506.02438, equation 16.
    """
    total, coef = deltas_BT.double(), coefs_BT.double()
    span = 1
    while span < total.shape[1]:
        total = total + coef * torch.nn.functional.pad(total[:, span:], (0, span))
        coef = coef * torch.nn.functional.pad(coef[:, span:], (0, span))
        span *= 2
    return total


def td_errors(
    values_BT: torch.Tensor,
    rewards_B: torch.Tensor,
    prompt_lens_B: torch.Tensor,
    lengths_B: torch.Tensor,
    *,
    gamma: float = 1.0,
    initial_value: str = "prompt",
) -> torch.Tensor:
    """The TD error of every response token: what seeing it changed in the critic's estimate.

    `delta_t = gamma V(s_t) - V(s_{t-1})`; for the last token `delta_T = R - V(s_{T-1})`. V before the first response
    token is the critic's value of the prompt (`prompt`), or 0.5 (`half`).

    Args:
        values_BT: V(s_t), probability that the solution is correct.
        rewards_B: 1 for a correct solution, else 0.
        prompt_lens_B, lengths_B: tokens in the prompt and in all.
    Returns:
        deltas_BT, float32 or wider, 0 outside the response.
    Raises:
        ValueError: unknown initial_value.
    Source: Sutton and Barto 2018, equation 6.5.
    """
    if initial_value not in ("prompt", "half"):
        raise ValueError(f"initial_value={initial_value!r} must be 'prompt' or 'half'")
    values_BT = values_BT.to(torch.promote_types(values_BT.dtype, torch.float32))
    position_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    prompt_B1, length_B1 = prompt_lens_B.unsqueeze(1), lengths_B.unsqueeze(1)
    before_BT = torch.nn.functional.pad(values_BT[:, :-1], (1, 0), value=0.5)
    if initial_value == "half":
        before_BT = torch.where(position_T == prompt_B1, 0.5, before_BT)
    after_BT = torch.where(position_T == length_B1 - 1, rewards_B.to(values_BT.dtype).unsqueeze(1), gamma * values_BT)
    response_BT = (position_T >= prompt_B1) & (position_T < length_B1)
    return torch.where(response_BT, after_BT - before_BT, 0.0)


def lambda_returns(
    values_BT: torch.Tensor,
    rewards_B: torch.Tensor,
    prompt_lens_B: torch.Tensor,
    lengths_B: torch.Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The critic's training targets.

    State s_i, i from prompt_len-1 (the prompt alone) to length-2, has target `V(s_i) + A_i`, where `A_i` chains the TD
    errors of the tokens after it. The state after the last token has the reward itself as its target.

    Args: as `td_errors`; `lam`: lambda in [0, 1], 1 makes every target the (discounted) reward.
    Returns:
        targets_BT (float64, no gradient) and mask_BT (True where there is a target).
    Source: Schulman et al. 2015, arXiv 1506.02438; Sutton and Barto 2018, section 12.1.
    """
    values_BT = values_BT.detach().double()
    deltas_BT = td_errors(values_BT, rewards_B, prompt_lens_B, lengths_B, gamma=gamma)
    position_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    last_BT = position_T == lengths_B.unsqueeze(1) - 1
    advantages_BT = discounted_suffix_sum(deltas_BT, (~last_BT).double() * (gamma * lam))
    after_BT = torch.nn.functional.pad(advantages_BT[:, 1:], (0, 1))
    mask_BT = (position_T >= prompt_lens_B.unsqueeze(1) - 1) & (position_T < lengths_B.unsqueeze(1))
    targets_BT = torch.where(last_BT, rewards_B.double().unsqueeze(1), values_BT + after_BT)
    return torch.where(mask_BT, targets_BT, 0.0), mask_BT
