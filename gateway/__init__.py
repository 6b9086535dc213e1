"""The public API: checks what comes in, calls `rolekeeper.jobs.service`, renders what comes out. It owns no rule."""
