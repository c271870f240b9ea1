"""What starts by itself: wakened, compared, started."""
