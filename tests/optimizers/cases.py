"""Rows of the optimizers' battery: a class and its arguments."""

ROWS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "rho": 0.8}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.3}),
    ("Adagrad", {"initial_accumulator_value": 0.2}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "epsilon": 1e-3}),
    ("Adam", {"beta_1": 0.5, "beta_2": 0.9}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True}),
    ("Adamax", {}),
    ("Nadam", {}),
    ("Ftrl", {}),
    ("Ftrl", {"learning_rate_power": -0.3, "beta": 0.1, "l2_regularization_strength": 0.2}),
    ("Ftrl", {"l1_regularization_strength": 0.1, "l2_shrinkage_regularization_strength": 0.1}),
    ("Lion", {}),
    ("Lamb", {}),
    ("Adafactor", {}),
    ("Adafactor", {"relative_step": False, "clip_threshold": 0.5}),
    ("Muon", {}),
    ("Muon", {"nesterov": False, "rms_rate": None, "adam_weight_decay": 0.1}),
    ("Muon", {"exclude_layers": ["kernel"], "adam_lr_ratio": 0.5, "weight_decay": None}),
    ("ScheduleFreeAdamW", {}),
    ("ScheduleFreeAdamW", {"warmup_steps": 5, "weight_decay": 0.01}),
]

OPTIONS = [
    {},
    {"weight_decay": 0.05},
    {"clipnorm": 0.5},
    {"clipvalue": 0.2},
    {"global_clipnorm": 0.7},
    {"loss_scale_factor": 8.0},
    {"use_ema": True, "ema_momentum": 0.9},
    {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "clipnorm": 0.3, "weight_decay": 0.1},
]

SCHEDULES = [
    ("ExponentialDecay", (0.1, 10, 0.5), {}),
    ("ExponentialDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 10, 0.5), {}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("PiecewiseConstantDecay", ([5, 12], [1.0, 0.5, 0.1]), {}),
    ("PolynomialDecay", (0.1, 10), {}),
    ("PolynomialDecay", (0.1, 10), {"power": 2.0, "end_learning_rate": 0.01, "cycle": True}),
    ("CosineDecay", (0.1, 20), {}),
    ("CosineDecay", (0.1, 20), {"alpha": 0.1}),
    ("CosineDecay", (0.01, 15), {"warmup_target": 0.1, "warmup_steps": 6, "alpha": 0.2}),
    ("CosineDecayRestarts", (0.1, 5), {}),
    ("CosineDecayRestarts", (0.1, 5), {"t_mul": 1.0, "m_mul": 0.8, "alpha": 0.1}),
    ("CosineDecayRestarts", (0.1, 4), {"t_mul": 1.5, "m_mul": 0.5, "alpha": 0.2}),
]

# Further ones for long runs.
MORE = [
    ("SGD", {"weight_decay": 0.01, "use_ema": True, "ema_overwrite_frequency": 7}),
    ("RMSprop", {"gradient_accumulation_steps": 3, "global_clipnorm": 1.0}),
    ("Muon", {"gradient_accumulation_steps": 2, "use_ema": True}),
    ("Adafactor", {"weight_decay": 0.05, "loss_scale_factor": 16.0}),
    ("Lion", {"clipvalue": 0.01, "weight_decay": 0.1}),
    ("Nadam", {"clipnorm": 0.2, "ema_momentum": 0.9, "use_ema": True}),
]
